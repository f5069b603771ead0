#!/usr/bin/env python3
"""Puts the output of `phiquant ... --help` into docs/cli.md, between the markers that name the command.

    tools/update_cli_docs.py --binary build/release/phiquant [--check]

With --check nothing is written; the exit code is 1 where the page is not current (a command-line test does this).
"""
import argparse
import pathlib
import re
import subprocess
import sys

PAGE = pathlib.Path(__file__).resolve().parent.parent / "docs/cli.md"
# <!-- help: quantize --> ```text ... ```
BLOCK = re.compile(r"(<!-- help: (\S*) ?-->\n```text\n).*?(```\n)", re.DOTALL)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()

    def current(match):
        verb = [] if match[2] == "phiquant" else [match[2]]
        text = subprocess.run([args.binary, *verb, "--help"], check=True, capture_output=True, text=True).stdout
        return match[1] + text + match[3]

    page = PAGE.read_text(encoding="utf-8")
    found = {m[2] for m in BLOCK.finditer(page)}
    if missing := {"phiquant", "quantize", "inspect", "compare", "list"} - found:
        sys.exit(f"docs/cli.md: no block for {', '.join(sorted(missing))}")
    new = BLOCK.sub(current, page)
    if args.check:
        return sys.exit("docs/cli.md: not current (run tools/update_cli_docs.py)") if new != page else None
    PAGE.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
