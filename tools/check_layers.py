#!/usr/bin/env python3
"""Checks that #include lines only point down: core <- wire <- {model, quant, format} <- pipeline <- cli.

Prints one line per violation and exits with 1 if there is any.
"""
import pathlib
import re
import sys

# Folder of src/ -> the folders of src/ that it may include. model, quant and format never see each other.
ALLOWED = {
    "core": {"core"},
    "wire": {"core", "wire"},
    "model": {"core", "wire", "model"},
    "quant": {"core", "wire", "quant"},
    "format": {"core", "wire", "format"},
    "pipeline": {"core", "wire", "model", "quant", "format", "pipeline"},
    "cli": {"core", "wire", "model", "quant", "format", "pipeline", "cli"},
}
# Library -> the only files that may include it: protobuf's types never leave the onnx files, and so on.
CONFINED = {
    "onnx": re.compile(r"src/\w+/onnx[^/]*$"),
    "google/protobuf": re.compile(r"src/\w+/onnx[^/]*$"),
    "CLI": re.compile(r"src/cli/"),
    "spdlog": re.compile(r"src/cli/"),
    "hwy": re.compile(r"src/quant/"),
}
INCLUDE = re.compile(r'^\s*#\s*include\s*(<([^>]+)>|"([^"]+)")', re.MULTILINE)


def problem(path, angled, target):
    """Why file `path` (relative, with slashes) may not include `target`; None if it may."""
    top = target.split("/")[0]
    if path.startswith("include/"):
        # The standard library's headers have neither a folder nor an extension; C's own would be <cstdint>.
        if top != "phiquant" and not (angled and re.fullmatch(r"\w+", target)):
            return "public headers use only the standard library and phiquant/"
        return None
    for library, where in CONFINED.items():
        if target.startswith(library + "/") and not where.match(path):
            return f"<{library}/...> is confined to {where.pattern}"
    folder = path.split("/")[1]
    if folder not in ALLOWED:
        return f"src/{folder} is not a known layer"
    if not angled and "/" not in target:
        return "write the folder too, as in \"core/half.h\""
    if top in ALLOWED and top not in ALLOWED[folder]:
        return f"{folder} may include only {', '.join(sorted(ALLOWED[folder]))}"
    return None


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    files = [f for top in ("include", "src") for f in sorted((root / top).rglob("*"))
             if f.suffix in (".h", ".cc")]
    violations = 0
    for file in files:
        path = file.relative_to(root).as_posix()
        text = file.read_text(encoding="utf-8")
        for match in INCLUDE.finditer(text):
            target = match[2] or match[3]
            why = problem(path, match[2] is not None, target)
            if why:
                violations += 1
                print(f"{path}:{text.count(chr(10), 0, match.start(1)) + 1}: includes {target}: {why}")
    print(f"{len(files)} files, {violations} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
