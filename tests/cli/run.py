#!/usr/bin/env python3
"""Runs the command-line tests: every folder of tests/cli/cases, each in a fresh temporary folder.

    tests/cli/run.py --binary build/release/phiquant [--update] [NAME-GLOB ...]

A case is a folder with
    cmd      a shell script; `phiquant` is on the PATH, $MODELS is tests/data/models, $EXAMPLE examples/phi3-tiny-onnx,
             $HELPERS tests/cli. A line `# needs: WORD ...` skips the case where the machine lacks something:
             mount (may mount a tmpfs: the case runs in a mount namespace of its own), script (util-linux), bash, man.
    stdout, stderr   what must come out, line by line; no file: nothing. In a line, * stands for any text; a line `...`
             stands for any number of lines. $TMP is the temporary folder, $MODELS and $EXAMPLE as above. What grows
             with each addition is not spelled out: {schemes} and {formats} are the names of `phiquant list --json`,
             {commands} those of its help, {words:--target} what the completions offer for an option, all as "a, b, c".
    exit     the exit code of the script; no file: 0.
Prints what failed and, last, 'N passed, N failed' (with '--update' it writes what came out; read the difference).
"""
import argparse
import concurrent.futures
import difflib
import fnmatch
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MODELS = ROOT / "tests/data/models"
EXAMPLE = ROOT / "examples/phi3-tiny-onnx"
TIMEOUT_S = 120
# What differs from run to run or machine to machine; --update writes the right side.
VOLATILE = ((r"^  time  .*$", "  time  *"), (r"^  memory  .*$", "  memory  *"), (r", [^,]* free", ", * free"))


def can_mount():
    tool = shutil.which("unshare")
    return bool(tool) and subprocess.run([tool, "--mount", "--map-root-user", "mount", "-t", "tmpfs", "none", "/mnt"],
                                         capture_output=True).returncode == 0


PROBES = {"mount": can_mount, "script": lambda: shutil.which("script"), "bash": lambda: shutil.which("bash"),
          "man": lambda: shutil.which("man") and shutil.which("groff")}


def matches(expected, lines):
    """Whether `lines` fit the patterns `expected`; '...' takes any number of lines."""
    if not expected:
        return not lines
    if expected[0] == "...":
        return any(matches(expected[1:], lines[i:]) for i in range(len(lines) + 1))
    if not lines:
        return False
    pattern = re.escape(expected[0]).replace(r"\*", ".*")
    return re.fullmatch(pattern, lines[0]) is not None and matches(expected[1:], lines[1:])


class Lists:
    """The lists that the program itself tells, for the expectations that name them."""
    NAME = re.compile(r"\{(schemes|formats|commands|words:(--[a-z-]+))\}")

    def __init__(self, binary):
        def said(*words):
            return subprocess.run([binary, *words], check=True, capture_output=True, text=True).stdout

        listed = json.loads(said("list", "--json"))
        # A name that two formats share is one word.
        self.lists = {kind: list(dict.fromkeys(row["name"] for row in listed[kind])) for kind in ("schemes", "formats")}
        commands = said("--help").split("Commands:\n")[1].split("\n\n")[0]
        self.lists["commands"] = re.findall(r"^  (\w+)", commands, re.MULTILINE)
        for option, words in re.findall(r"-l (\S+).* -x -a '([^']*)'", said("--generate", "fish")):
            self.lists[f"words:--{option}"] = words.split()

    def put_into(self, text):
        return self.NAME.sub(lambda match: ", ".join(self.lists[match[1]]), text)


def read(path, otherwise=""):
    return path.read_text(encoding="utf-8") if path.exists() else otherwise


def needs(script):
    return [word for line in re.findall(r"^# needs:(.*)$", script, re.MULTILINE) for word in line.split()]


def environment(binary, folder):
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    (bin_folder / "phiquant").symlink_to(binary)
    keep = {k: v for k, v in os.environ.items() if k.startswith(("ASAN_", "UBSAN_", "TSAN_", "LSAN_"))}
    return {**keep, "PATH": f"{bin_folder}:{os.environ.get('PATH', '/usr/bin:/bin')}", "LC_ALL": "C.UTF-8",
            "HOME": str(folder), "TERM": "xterm", "MODELS": str(MODELS),
            "EXAMPLE": str(EXAMPLE), "HELPERS": str(HERE), "ROOT": str(ROOT)}


def run_case(case, binary):
    """The exit code, stdout and stderr of the case, with the names of folders made $TMP, $MODELS, $EXAMPLE."""
    with tempfile.TemporaryDirectory(prefix="phiquant-cli-") as name:
        folder = pathlib.Path(name).resolve()
        work = folder / "work"
        work.mkdir()
        command = ["sh", str(case / "cmd")]
        if "mount" in needs(read(case / "cmd")):
            command = ["unshare", "--mount", "--map-root-user", *command]
        try:
            done = subprocess.run(command, cwd=work, env=environment(binary, folder), stdin=subprocess.DEVNULL,
                                  capture_output=True, timeout=TIMEOUT_S)
            code, out, err = done.returncode, done.stdout, done.stderr
        except subprocess.TimeoutExpired as late:
            code, out, err = f"none after {TIMEOUT_S} s", late.stdout or b"", late.stderr or b""
        names = ((work, "$TMP"), (MODELS, "$MODELS"), (EXAMPLE, "$EXAMPLE"))
        texts = [out.decode("utf-8", "replace"), err.decode("utf-8", "replace")]
        for path, variable in names:
            texts = [text.replace(str(path), variable) for text in texts]
        return str(code), *texts


def check(case, binary, lists, update):
    """None if the case passed, else what is wrong with it."""
    code, out, err = run_case(case, binary)
    found = {"exit": code + "\n", "stdout": out, "stderr": err}
    problems = []
    for name, text in found.items():
        expected = lists.put_into(read(case / name, "0\n" if name == "exit" else ""))
        if matches(expected.splitlines(), text.splitlines()):
            continue
        if update:
            for pattern, stars in VOLATILE:
                text = re.sub(pattern, stars, text, flags=re.MULTILINE)
            (case / name).write_text(text, encoding="utf-8")
        problems += difflib.unified_diff(expected.splitlines(), text.splitlines(), f"{name}, wanted", f"{name}, found",
                                         lineterm="")
    return "\n".join(problems) or None


def main():
    parser = argparse.ArgumentParser(description="Runs the command-line tests.")
    parser.add_argument("--binary", required=True, type=pathlib.Path)
    parser.add_argument("--update", action="store_true", help="write what came out as what is wanted")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("names", nargs="*", default=["*"])
    args = parser.parse_args()
    binary = args.binary.resolve()
    if not os.access(binary, os.X_OK):
        sys.exit(f"{args.binary}: not a program (build it first)")

    cases = [c for c in sorted((HERE / "cases").iterdir())
             if (c / "cmd").exists() and any(fnmatch.fnmatch(c.name, n) for n in args.names)]
    lists = Lists(binary)
    able = {word: bool(probe()) for word, probe in PROBES.items()}
    lacking = {c: [w for w in needs(read(c / "cmd")) if not able[w]] for c in cases}
    runnable = [c for c in cases if not lacking[c]]
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        results = list(pool.map(lambda c: check(c, binary, lists, args.update), runnable))
    for case in cases:
        if lacking[case]:
            print(f"skipped {case.name}: this machine has no {', '.join(lacking[case])}")
    for case, problem in zip(runnable, results):
        if problem:
            print(f"FAILED {case.name}\n{problem}\n")
    failed = sum(r is not None for r in results)
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main())
