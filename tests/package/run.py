#!/usr/bin/env python3
"""The installed library, as another program finds it.

    tests/package/run.py --build build/release

Installs the build into a fresh prefix, builds examples/cpp there with nothing but that prefix to search, and runs it: a
model comes out, and a run that is stopped leaves nothing. Exits with 1 at the first thing that is not so.
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
CANCELLED = 130


def run(*command, **options):
    print("$", *command, flush=True)
    return subprocess.run([str(c) for c in command], **options)


def check(holds, what):
    if not holds:
        sys.exit(f"FAILED: {what}")


def main():
    parser = argparse.ArgumentParser(description="Builds and runs examples/cpp against the installed package.")
    parser.add_argument("--build", required=True, type=pathlib.Path)
    build = parser.parse_args().build.resolve()
    scratch = build / "package"
    shutil.rmtree(scratch, ignore_errors=True)
    prefix, example, out = scratch / "prefix", scratch / "example", scratch / "out"
    # The build's own cache must not be what answers: no variable that CMake or pkg-config would search by.
    hints = ("CMAKE_PREFIX_PATH", "ONNX_DIR", "PKG_CONFIG_PATH", "CPATH", "LIBRARY_PATH")
    clean = {k: v for k, v in os.environ.items() if k not in hints}

    check(run("cmake", "--install", build, "--prefix", prefix, stdout=subprocess.DEVNULL).returncode == 0, "installing")
    named = [f for f in (prefix / "lib/cmake/phiquant").glob("*.cmake")
             if str(ROOT) in f.read_text() or "/.cache/" in f.read_text()]
    check(not named, f"paths of the build machine in {', '.join(map(str, named))}")
    check(not (prefix / "include/onnx").exists(), "headers of onnx are installed")
    check(run("cmake", "-S", ROOT / "examples/cpp", "-B", example, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={prefix}",
              "-DCMAKE_FIND_USE_PACKAGE_REGISTRY=OFF", env=clean, stdout=subprocess.DEVNULL).returncode == 0, "configuring")
    check(run("cmake", "--build", example, env=clean, stdout=subprocess.DEVNULL).returncode == 0, "building")

    program, source = example / "quantize_a_folder", ROOT / "examples/phi3-tiny"
    done = run(program, source, out, capture_output=True, text=True)
    check(done.returncode == 0, f"quantizing: {done.stderr}")
    check((out / "model.onnx").exists(), "no model.onnx came out")
    check("100%" in done.stderr and "dB" in done.stdout, f"no progress, or no tensors: {done.stderr}{done.stdout}")

    stopped = scratch / "stopped"
    done = run(program, source, stopped, "0", capture_output=True, text=True)
    check(done.returncode == CANCELLED, f"a deadline of 0 s: exit code {done.returncode}: {done.stderr}")
    check(not list(scratch.glob("*stopped*")), "a cancelled run left something")
    print("the package works")


if __name__ == "__main__":
    main()
