#!/usr/bin/env python3
"""Times phiquant beside ONNX Runtime GenAI's model builder on the same checkpoint, in one run.

    run_builder.py --builder-python PYTHON [--checkpoint FOLDER] [--only NAME,...] [--repeat N]

PYTHON is an interpreter that has onnxruntime-genai, torch, transformers, onnx and onnxruntime; without it phiquant runs alone.
Makes the checkpoint (4 layers of Phi-3.5-mini, 1.3 GB of bfloat16) if the folder does not hold one. phiquant is asked for
the builder's recipe, so that both do the same work. How it measures: run.py.
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import run

# Name, target, precision.
CASES = [("genai int4", "cpu", "int4"), ("genai int8", "cpu", "int8"), ("genai fp32", "cpu", "fp32"), ("genai fp16-cuda", "cuda", "fp16")]
WANTED_CPU, WANTED_RSS = 20, 15


def builder_command(python, checkpoint, target, precision):
    def command(out):
        cache = out.parent / "cache"
        return [python, "-m", "onnxruntime_genai.models.builder", "-i", str(checkpoint), "-o", str(out), "-p", precision, "-e", target,
                "-c", str(cache)]
    return command


def check(python):
    packages = "onnxruntime_genai, torch, transformers, onnx, onnxruntime"
    done = subprocess.run([python, "-c", f"import {packages}"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{python} lacks one of {packages}:\n{done.stderr[-500:]}")


def run_cases(args, scratch):
    run.header()
    for name, target, precision in CASES:
        if args.only and name not in args.only:
            continue
        options = ["-p", precision, "--target", target, "--recipe", "builder"]
        ours = []
        for _ in range(args.repeat):
            run.warm(args.checkpoint)
            ours.append(run.run_once(run.phiquant_command(args, args.checkpoint, options), scratch))
        cost = run.best([c for c, _ in ours])
        run.row(name, "phiquant", cost, ours[0][1])
        if args.builder_python:
            run.warm(args.checkpoint)
            peer, size = run.run_once(builder_command(args.builder_python, args.checkpoint, target, precision), scratch)
            run.row(name, "builder", peer, size, f"{peer.cpu / cost.cpu:.1f} (wanted {WANTED_CPU}); "
                                                 f"RSS {peer.rss / cost.rss:.1f} (wanted {WANTED_RSS})")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--builder-python", help="interpreter with the model builder's packages")
    parser.add_argument("--checkpoint", type=pathlib.Path, default=run.ROOT / "build/bench/checkpoint4")
    parser.add_argument("--only", type=lambda text: text.split(","), help="cases: " + ", ".join(c[0] for c in CASES))
    parser.add_argument("--repeat", type=int, default=3, help="runs of phiquant a case; the best counts")
    parser.add_argument("--scratch", type=pathlib.Path, help="where outputs go; default: beside the checkpoint")
    parser.add_argument("--phiquant", default=os.environ.get("PHIQUANT", str(run.ROOT / "build/release/phiquant")))
    args = parser.parse_args()
    if args.builder_python:
        check(args.builder_python)
    if not (args.checkpoint / "config.json").exists():
        subprocess.run([sys.executable, str(run.ROOT / "tools/bench/make_checkpoint.py"), str(args.checkpoint)], check=True)
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="bench-", dir=args.scratch or args.checkpoint.parent))
    try:
        run_cases(args, scratch)
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
