"""Runs the cases of the net and keeps what they gave."""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess

from net import inputs

TIMEOUT_S, TRIES = 120, 3  # by the wall clock, which also runs while a process is stopped: hence more than one try
REPORT = "report.json"
# What depends on the machine or the moment, in texts and in reports.
MASKS = [(re.compile(pattern, re.MULTILINE), text) for pattern, text in (
    (r"^(  time  ).*$", r"\1*"),
    (r"^(  memory  ).*$", r"\1*"),
    (r"[^,]* free(: not enough)?$", " * free"),
    (r'("(?:seconds|peak_memory_bytes|free_disk_bytes)": )[^,\n]*', r"\1*"),
    # The instruction sets of this CPU.
    (r"^(CPU targets[^\n]*\n)(?:  .*\n)*", r"\1  *\n"),
    (r'("simd_targets": )\[[^\]]*\]', r"\1*"),
)]


def masked(text, scratch):
    text = text.replace(str(scratch), "SCRATCH")
    for pattern, replacement in MASKS:
        text = pattern.sub(replacement, text)
    return text


def digests(folder):
    """Path -> SHA-256 and size, of every file but the report."""
    out = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if name != REPORT:
            raw = path.read_bytes()
            out[name] = f"{hashlib.sha256(raw).hexdigest()} {len(raw)}"
    return out


class Runner:
    """Runs cases with one binary in one scratch folder."""

    def __init__(self, binary, scratch):
        self.binary, self.scratch = pathlib.Path(binary).resolve(), pathlib.Path(scratch).resolve()
        inputs.make(self.scratch / "in")
        self.inputs = {p.name: hashlib.sha256(json.dumps(digests(p) if p.is_dir() else p.read_bytes().hex()).encode())
                       .hexdigest() for p in sorted((self.scratch / "in").iterdir())}
        (self.scratch / "in/made").mkdir()
        self.environment = {k: v for k, v in os.environ.items() if k not in ("PHIQUANT_SIMD", "NO_COLOR")}
        self.environment |= {"LC_ALL": "C.UTF-8", "TERM": "dumb"}

    def run(self, args, folder, environment):
        """Exit code, stdout and stderr."""
        for _ in range(TRIES):
            folder.mkdir()
            try:
                done = subprocess.run([self.binary, *args], cwd=folder, env=self.environment | dict(environment),
                                      stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False)
                return done.returncode, *(masked(t.decode(errors="replace"), self.scratch)
                                          for t in (done.stdout, done.stderr))
            except subprocess.TimeoutExpired:
                shutil.rmtree(folder)
        folder.mkdir()
        return "timeout", "", ""

    def once(self, case, number, extra=(), environment=()):
        folder = self.scratch / f"{number:06}"
        args = [re.sub(r"(^|=)@", r"\1../in/", a) for a in case.args] + list(extra)
        result = dict(zip(("exit", "stdout", "stderr"), self.run(args, folder, environment)))
        report = folder / REPORT
        result["report"] = masked(report.read_text(errors="replace"), self.scratch) if report.is_file() else ""
        result["files"] = digests(folder)
        if case.keep and (folder / case.keep).exists():
            shutil.move(folder / case.keep, self.scratch / "in/made" / case.keep)
        shutil.rmtree(folder)
        return result

    def case(self, case, number):
        result = self.once(case, number)
        result["args"] = " ".join(case.args)
        # The same bytes are promised whatever the threads, the memory and the instruction set; the same errors whatever
        # the first and the last (they are summed by chunks, whose size follows the memory).
        wrong = ["nothing: no output"] if case.every_way and not result["files"] else []
        for extra, environment in self.ways() if case.every_way else ():
            other = self.once(case, number, extra, environment)
            keys = ("exit", "files") if "--max-memory" in extra else ("exit", "files", "report")
            if any(other[k] != result[k] for k in keys):
                wrong.append(" ".join([*extra, *(f"{k}={v}" for k, v in environment.items())]))
        if wrong:
            result["differs with"] = wrong
        return result

    def ways(self):
        for threads in ("1", "2", "3"):
            yield ["--threads", threads], {}
        yield ["--max-memory", "16M"], {}
        listed = subprocess.run([self.binary, "list", "--json"], capture_output=True, check=True)
        for target in json.loads(listed.stdout)["simd_targets"]:
            yield [], {"PHIQUANT_SIMD": target["name"]}

    def all(self, cases, jobs, tick=lambda name, result: None):
        """Name -> result. Cases whose outputs are inputs of others run first."""
        out, number = {}, 0
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            try:
                for level in sorted({c.level for c in cases}):
                    waiting = {}
                    for case in (c for c in cases if c.level == level):
                        waiting[pool.submit(self.case, case, number)] = case.name
                        number += 1
                    for done in concurrent.futures.as_completed(waiting):
                        out[waiting[done]] = done.result()
                        tick(waiting[done], out[waiting[done]])
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)  # Ctrl-C: the cases under way, and no more
                raise
        return {case.name: out[case.name] for case in cases}
