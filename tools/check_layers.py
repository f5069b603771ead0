#!/usr/bin/env python3
"""Checks that #include lines and link lines only point down:
core <- wire <- quant <- model <- decide <- format <- pipeline <- cli,
and that the system is called behind its seam only (src/core/posix, and the terminal in src/cli).

Prints one line per violation and exits with 1 if there is any.
"""
import pathlib
import re
import sys

# Folders of src/, each of which may include and link itself and those before it.
LAYERS = ["core", "wire", "quant", "model", "decide", "format", "pipeline", "cli"]
# Library -> the only files that may include it: protobuf's types never leave what reads and writes ONNX, the
# system's calls stay behind one seam, and so on.
ONNX = re.compile(r"src/(wire/onnx_|model/onnx/|format/(onnx|decoder|genai)/|pipeline/inspect_onnx)")
POSIX = re.compile(r"src/(core/posix/|cli/(terminal|progress)\.cc)")
CONFINED = {
    "onnx/": ONNX,
    "google/protobuf/": ONNX,
    "CLI/": re.compile(r"src/cli/"),
    "spdlog/": re.compile(r"src/cli/"),
    "hwy/": re.compile(r"src/quant/"),
    "unistd.h": POSIX,
    "fcntl.h": POSIX,
    "sys/": POSIX,
    "linux/": POSIX,
    "dirent.h": POSIX,
    "dlfcn.h": POSIX,
    "poll.h": POSIX,
    "pthread.h": POSIX,
    "sched.h": POSIX,
    "signal.h": POSIX,
    "termios.h": POSIX,
}
# "::open(...)": how the system's calls are written here, so that they are told from functions of the same name.
SYSTEM_CALL = re.compile(r"(?<![\w>:])::[a-z]\w*\(")
INCLUDE = re.compile(r'^\s*#\s*include\s*(<([^>]+)>|"([^"]+)")', re.MULTILINE)
LINK = re.compile(r"^phiquant_library\((\w+)([^)]*)\)", re.MULTILINE)


def beneath(folder):
    return LAYERS[:LAYERS.index(folder) + 1]


def folder_of(path):
    return path.rpartition("/")[0]


def problem(path, angled, target):
    """Why file `path` (relative, with slashes) may not include `target`; None if it may."""
    top = target.split("/")[0]
    if path.startswith("include/"):
        # The standard library's headers have neither a folder nor an extension; C's own would be <cstdint>.
        if top != "phiquant" and not (angled and re.fullmatch(r"\w+", target)):
            return "public headers use only the standard library and phiquant/"
        return None
    for library, where in CONFINED.items():
        if target.startswith(library) and angled and not where.match(path):
            return f"<{library}...> is confined to {where.pattern}"
    folder = path.split("/")[1]
    if folder not in LAYERS:
        return f"src/{folder} is not a known layer"
    if target.startswith("core/posix/") and folder_of(path) != "src/core/posix":
        return "only src/core/posix knows the system (include the header in core instead)"
    if not angled and "/" not in target:
        return "write the folder too, as in \"core/half.h\""
    if top in LAYERS and top not in beneath(folder):
        return f"{folder} may include only {', '.join(beneath(folder))}"
    return None


def line_of(text, at):
    return text.count("\n", 0, at) + 1


def check_files(root):
    files = [f for top in ("include", "src") for f in sorted((root / top).rglob("*")) if f.suffix in (".h", ".cc")]
    found = []
    for file in files:
        path = file.relative_to(root).as_posix()
        text = file.read_text(encoding="utf-8")
        for match in INCLUDE.finditer(text):
            target = match[2] or match[3]
            why = problem(path, match[2] is not None, target)
            if why:
                found.append(f"{path}:{line_of(text, match.start(1))}: includes {target}: {why}")
        for match in SYSTEM_CALL.finditer(text):
            if not POSIX.match(path):
                found.append(f"{path}:{line_of(text, match.start())}: calls {match[0]}): {POSIX.pattern} may")
    return len(files), found


def check_links(root):
    found, seen = [], []
    for folder, rest in LINK.findall((root / "CMakeLists.txt").read_text(encoding="utf-8")):
        seen.append(folder)
        for target in re.findall(r"phiquant_(\w+)", rest):
            if folder not in LAYERS or target not in beneath(folder)[:-1]:
                found.append(f"CMakeLists.txt: {folder} links {target}, which is not beneath it")
    if seen != LAYERS[:-1]:
        found.append(f"CMakeLists.txt: libraries {seen}, wanted {LAYERS[:-1]}")
    return found


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    n_files, found = check_files(root)
    found += check_links(root)
    for line in found:
        print(line)
    print(f"{n_files} files, {len(found)} violations")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
