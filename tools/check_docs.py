#!/usr/bin/env python3
"""Checks the Markdown pages: lines of at most 120 characters outside code blocks and tables, links that lead somewhere.
Prints one line per violation and exits with 1 if there is any. A ctest runs it.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIMIT = 120
LINK = re.compile(r"\]\(([^)\s]+)\)")


def prose(text):
    """(number, line) of the lines outside code blocks, and whether a line belongs to a table."""
    code = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            code = not code
        elif not code:
            yield number, line, line.lstrip().startswith("|")


def anchors(page):
    """The fragments that the headings of a page answer to."""
    found = set()
    for _, line, _ in prose(page.read_text(encoding="utf-8")):
        if line.startswith("#"):
            words = re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower())
            found.add(words.replace(" ", "-"))
    return found


def broken(page, target):
    """Why a link goes nowhere; None if it does not."""
    if re.match(r"\w+:", target):
        return None
    path, _, fragment = target.partition("#")
    there = (page.parent / path).resolve() if path else page
    if not there.exists():
        return f"no file {path}"
    if fragment and there.suffix == ".md" and fragment not in anchors(there):
        return f"no heading #{fragment} in {there.name}"
    return None


def violations(page):
    for number, line, is_table in prose(page.read_text(encoding="utf-8")):
        if len(line) > LIMIT and not is_table:
            yield number, f"{len(line)} characters, at most {LIMIT}"
        for target in LINK.findall(re.sub(r"`[^`]*`", "", line)):
            if why := broken(page, target):
                yield number, why


def main():
    pages = [p for p in sorted(ROOT.rglob("*.md"))
             if not any(part.startswith(".") or part == "build" for part in p.relative_to(ROOT).parts)
             and p.parent.name not in ("model_cards", "model_card")]
    count = 0
    for page in pages:
        for number, why in violations(page):
            count += 1
            print(f"{page.relative_to(ROOT)}:{number}: {why}")
    print(f"{len(pages)} pages, {count} violations")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
