#!/usr/bin/env python3
"""Checks README.md beside this file: each data file is in its table once, and the hashes hold.

    check_readme.py              prints a line per violation; exits with 1 if there is any (a ctest runs it)
    check_readme.py --write      puts the present hashes into the table
    check_readme.py PATH...      prints the hash of files or folders, as the table has it

The hash of a file is its SHA-256; that of a folder the SHA-256 of the lines that sha256sum prints for its files, sorted
by name. Makers (*.py), README.md and the C++ example are no data.
"""
import hashlib
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
README = pathlib.Path(__file__).resolve().parent / "README.md"
DATA = ("tests/data", "tests/fuzz/corpus", "examples")
CODE = ("examples/cpp",)
# | `path` | what | peer | command | readers | `hash` |
ROW = re.compile(r"^(\| `([^`]+)` \|.*\| `)([0-9a-f]{64}|)(` \|)$", re.MULTILINE)


def files_of(path):
    """Data files at or below `path`, as names from the repository's root, sorted."""
    path = ROOT / path
    found = [path] if path.is_file() else path.rglob("*")
    return sorted(f.relative_to(ROOT).as_posix() for f in found
                  if f.is_file() and f.suffix != ".py" and f.name != "README.md" and "__pycache__" not in f.parts)


def sha256(name):
    return hashlib.sha256((ROOT / name).read_bytes()).hexdigest()


def hash_of(path):
    if (ROOT / path).is_file():
        return sha256(path)
    return hashlib.sha256("".join(f"{sha256(f)}  {f}\n" for f in files_of(path)).encode()).hexdigest()


def check(rows):
    """Lines about rows that are wrong and files that are in no row, or in two."""
    covered = []
    for path, recorded in rows:
        files = files_of(path)
        covered += files
        if not files:
            yield f"{path}: no such data"
        elif hash_of(path) != recorded:
            yield f"{path}: the hash is {hash_of(path)}, the table has {recorded}"
    present = {f for folder in DATA for f in files_of(folder)} - {f for folder in CODE for f in files_of(folder)}
    yield from (f"{f}: not in the table" for f in sorted(present - set(covered)))
    yield from (f"{f}: in two rows" for f in sorted({f for f in covered if covered.count(f) > 1}))


def main(arguments):
    text = README.read_text(encoding="utf-8")
    if arguments == ["--write"]:
        README.write_text(ROW.sub(lambda m: m[1] + hash_of(m[2]) + m[4], text), encoding="utf-8")
        return 0
    if arguments:
        for path in arguments:
            name = pathlib.Path(path).resolve().relative_to(ROOT).as_posix()
            print(hash_of(name), name)
        return 0
    rows = [(m[2], m[3]) for m in ROW.finditer(text)]
    violations = list(check(rows))
    print(*violations, f"{len(rows)} rows, {len(violations)} violations", sep="\n")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
