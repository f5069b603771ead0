#!/usr/bin/env python3
"""The net: what the program writes and says, recorded before a change of its inside and checked after it.

    tools/net.py record FILE [--binary BIN] [--only GLOB] [--sample N] [--jobs N] [--scratch FOLDER]
    tools/net.py check FILE  [the same] [--allow GLOB] [--bytes] [--brief | --full]
    tools/net.py list        [--only GLOB] [--sample N]

`record` runs some thousands of command lines (tools/net/cases.py, from the tables of words.py) over the bundled models
and variants of them (inputs.py), and writes what each gave into FILE: exit code, stdout, stderr, the report, and the
SHA-256 and size of every output file. `check` runs the command lines of FILE again and prints what is different, texts
as a diff. It exits with 1 if anything is, the inputs among it. The groups:

    made      outputs that other cases read             chain     conversions of those
    real      checkpoint x format x target x recipe x precision
    scheme    checkpoint x every scheme                 option    checkpoint x format x options that change bytes
    onnx      ONNX models, also broken ones             variant   checkpoints that the tree lacks: NaN, F32, untyped
    inspect, compare                                    line      help, lists, wrong words and values
    single, pair, triple   dry runs of every option, every two, and some three: the plan, or the refusal
    same      one command with other numbers of threads, with little memory and on each instruction set of this CPU:
              the output must be the same (`record` says so too, and exits with 1)
    fault     faults that are to be mended; reason: what may get another reason in the report, and no other bytes, by it

Times, memory, free disk and the CPU's instruction sets are masked; the rest is the same on each run and wherever the
tree lies. FILE is compressed JSON, for use during one change, not for the repository: `cases` holds the SHA-256 of each
text, `texts` the texts.

GLOB is matched with a case's name, as 'real/phi4-tiny/*'; --only and --allow may be given many times. What --allow
matches may be different: it is printed and does not count. With --bytes texts are not compared, files and exit codes
are. --sample 10 runs one case in ten, always the same ones. All take six minutes of CPU time. Scratch (half a gigabyte)
lies in /dev/shm where there is one, and is removed. Standard library only.
"""
import argparse
import collections
import difflib
import fnmatch
import gzip
import hashlib
import json
import os
import pathlib
import signal
import sys
import tempfile
import time
import zlib

from net import cases as net_cases
from net import run

ROOT = pathlib.Path(__file__).resolve().parents[1]
TEXTS = ("stdout", "stderr", "report")
DIFF_LINES = 30
MEMORY = "/dev/shm"  # no waiting for the disk at each fsync


def matches(name, globs):
    return any(fnmatch.fnmatchcase(name, g) for g in globs)


def selected(every, args):
    """The cases that match, and those whose outputs they read."""
    names = {c.name for c in every if (not args.only or matches(c.name, args.only)) and
             zlib.crc32(c.name.encode()) % args.sample == 0}
    if len(names) < len(every):
        by_name = {c.name: c for c in every}
        waiting = list(names)
        while waiting:
            needed = by_name[waiting.pop()].needs() - names
            names |= needed
            waiting += needed
    return [c for c in every if c.name in names]


def run_all(every, args, tell=lambda name, result: None):
    """Name -> result, and input -> digest. Tells of each result when it is there."""
    chosen = selected(every, args)
    if not chosen:
        sys.exit("no case matches (see 'tools/net.py list')")
    started, count = time.monotonic(), 0

    def tick(name, result):
        nonlocal count
        count += 1
        if sys.stderr.isatty() and count % 20 == 0:
            print(f"\r{count} of {len(chosen)}\r", end="", file=sys.stderr, flush=True)
        if "differs with" in result:
            print(f"{name}: not the same output with {', '.join(result['differs with'])}", flush=True)
        tell(name, result)

    folder = args.scratch or (MEMORY if os.access(MEMORY, os.W_OK) else None)
    with tempfile.TemporaryDirectory(prefix="phiquant-net-", dir=folder) as scratch:
        runner = run.Runner(args.binary, scratch)
        results = runner.all(chosen, args.jobs, tick)
    print(f"{len(results)} cases in {time.monotonic() - started:.0f} s")
    return results, runner.inputs


def pack(results, inputs):
    texts, packed = {}, {}
    for name, result in results.items():
        packed[name] = dict(result)
        for kind in TEXTS:
            digest = hashlib.sha256(result[kind].encode()).hexdigest()
            texts[digest] = result[kind]
            packed[name][kind] = digest
    return {"inputs": inputs, "cases": packed, "texts": texts}


def unpack(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        record = json.load(file)
    return record.get("inputs", {}), {name: {k: record["texts"][v] if k in TEXTS else v for k, v in case.items()}
                                      for name, case in record["cases"].items()}


def record(args):
    results, inputs = run_all(net_cases.all_cases(), args)
    # Whole or not at all: others may be reading the old one.
    part = pathlib.Path(f"{args.file}.part")
    with gzip.open(part, "wt", encoding="utf-8", compresslevel=6) as file:
        json.dump(pack(results, inputs), file)
    part.replace(args.file)
    groups = collections.defaultdict(collections.Counter)
    for name, result in results.items():
        groups[name.split("/")[0]][str(result["exit"])] += 1
    for group, codes in groups.items():
        print(f"{sum(codes.values()):6} {group:8} exit codes " +
              ", ".join(f"{code}: {n}" for code, n in sorted(codes.items())))
    print(f"{sum(len(r['files']) for r in results.values())} output files, "
          f"{sum(1 for r in results.values() if r['report'])} reports -> {args.file}")
    return int(any("differs with" in r for r in results.values()))


def differences(before, after, kinds, limit):
    """One line per thing that differs, diffs of texts behind theirs."""
    if before["exit"] != after["exit"]:
        yield f"exit code: {before['exit']} -> {after['exit']}"
    for name in sorted(before["files"].keys() | after["files"].keys()):
        a, b = before["files"].get(name, "none"), after["files"].get(name, "none")
        if a != b:
            short = [" ".join([t.split()[0][:12], *t.split()[1:], "bytes"]) if t != "none" else t for t in (a, b)]
            yield f"file {name}: {short[0]} -> {short[1]}"
    for kind in kinds:
        if before[kind] != after[kind]:
            texts = before[kind].splitlines(), after[kind].splitlines()
            lines = list(difflib.unified_diff(*texts, lineterm="", n=1))[2:]
            rest = f"\n      ... {len(lines) - limit} more lines (--full)" if len(lines) > limit else ""
            yield f"{kind}:\n      " + "\n      ".join(lines[:limit]) + rest
    if "differs with" in after:
        yield f"not the same output with {', '.join(after['differs with'])}"


def check(args):
    inputs, before = unpack(args.file)
    wrong, allowed = [], []

    def tell(name, result):
        limit = 10**9 if args.full else DIFF_LINES
        found = list(differences(before[name], result, () if args.bytes else TEXTS, limit))
        if found:
            may = matches(name, args.allow)
            (allowed if may else wrong).append(name)
            head = f"{'allowed' if may else 'DIFFERS'} {name}"
            lines = [] if args.brief else [f"phiquant {result['args']}", *found]
            print("\n    ".join([head, *lines]), flush=True)

    after, inputs_now = run_all([net_cases.from_record(n, c["args"]) for n, c in before.items()], args, tell)
    new = {c.name for c in net_cases.all_cases()} - before.keys()
    if new:
        print(f"{len(new)} cases are not in the record, as {min(new)} (record again with the old program to have them)")
    changed = [n for n, digest in inputs.items() if inputs_now.get(n) != digest]
    if changed:
        print(f"DIFFERS inputs: not those of the record: {', '.join(changed)}")
    groups = collections.Counter("/".join(name.split("/")[:2]) for name in wrong)
    for group, n in groups.most_common():
        print(f"{n:6} in {group}")
    print(f"{len(wrong)} of {len(after)} cases differ" + (f", {len(allowed)} more that may" if allowed else ""))
    return int(bool(wrong or changed))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("record", "check", "list"))
    parser.add_argument("file", nargs="?")
    parser.add_argument("--binary", default=ROOT / "build/release/phiquant", type=pathlib.Path)
    parser.add_argument("--only", action="append", default=[], metavar="GLOB")
    parser.add_argument("--allow", action="append", default=[], metavar="GLOB")
    parser.add_argument("--sample", type=int, default=1, metavar="N", help="one case in N, always the same ones")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--scratch", metavar="FOLDER")
    parser.add_argument("--bytes", action="store_true", help="compare files and exit codes, no texts")
    parser.add_argument("--brief", action="store_true", help="names only")
    parser.add_argument("--full", action="store_true", help="diffs of any length")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the scratch is removed
    if args.verb == "list":
        for case in selected(net_cases.all_cases(), args):
            print(f"{case.name}: phiquant {' '.join(case.args)}")
        return 0
    if not args.file:
        parser.error(f"{args.verb}: FILE is missing")
    if not args.binary.is_file():
        parser.error(f"{args.binary}: no such file (build it, or give --binary)")
    return record(args) if args.verb == "record" else check(args)


if __name__ == "__main__":
    sys.exit(main())
