#!/usr/bin/env python3
"""Quantizes the example in many ways and prints the table of docs/schemes.md: size, error of weights and of logits.

    table.py [--only TEXT] [--tokens N] [--model FOLDER]

Needs numpy and onnxruntime (the venv of tools/setup --tests), and the binary in build/release or $PHIQUANT.
"""
import argparse
import json
import os
import pathlib
import subprocess
import tempfile

import numpy as np

import perplexity

ROOT = perplexity.ROOT
INT4 = ["-p", "int4", "--no-protect"]
ROWS = {
    "fp32": ["-p", "fp32"],
    "fp16": ["-p", "fp16"],
    "int8": ["-p", "int8"],
    "int8, asymmetric": ["-p", "int8", "--asymmetric"],
    "int8, k_quant": ["-p", "int8", "--scheme", "k_quant"],
    "int8, rtn": ["-p", "int8", "--scheme", "rtn"],
    "int8, qdq": ["-p", "int8", "--scheme", "qdq", "--style", "qdq"],
    "int8, qdq_channel": ["-p", "int8", "--scheme", "qdq_channel"],
    "int8, qdq_tensor": ["-p", "int8", "--scheme", "qdq_tensor"],
    "int8, dynamic_channel": ["-p", "int8", "--scheme", "dynamic_channel"],
    "int8, dynamic": ["-p", "int8", "--scheme", "dynamic"],
    "int8, embeddings int8": ["-p", "int8", "--embeddings", "int8"],
    "int4": ["-p", "int4"],
    "int4, embeddings int8": ["-p", "int4", "--embeddings", "int8"],
    "int4, embeddings int4": ["-p", "int4", "--embeddings", "int4"],
    "int4, search": ["-p", "int4", "--search"],
    "int4, asymmetric": ["-p", "int4", "--asymmetric"],
    "int4, asymmetric, search": ["-p", "int4", "--asymmetric", "--search"],
    "int4, uniform": INT4,
    "int4, uniform, search": [*INT4, "--search"],
    "int4, uniform, asymmetric": [*INT4, "--asymmetric"],
    "int4, uniform, asymmetric, search": [*INT4, "--asymmetric", "--search"],
    "int4, uniform, k_quant": [*INT4, "--scheme", "k_quant"],
    "int4, uniform, hqq": [*INT4, "--scheme", "hqq"],
    "int4, uniform, rtn": [*INT4, "--scheme", "rtn"],
    "int4, uniform, rtn, asymmetric": [*INT4, "--scheme", "rtn", "--asymmetric"],
    "int4, uniform, qdq": [*INT4, "--style", "qdq"],
    **{f"int4, uniform, block {b}": [*INT4, "--block-size", str(b)] for b in (16, 64, 128, 256)},
    **{f"int4, uniform, search, block {b}": [*INT4, "--search", "--block-size", str(b)] for b in (16, 64, 128, 256)},
}


def quantize(binary, model, options, out):
    done = subprocess.run([binary, "quantize", str(model), "-o", str(out), "--json", *options], capture_output=True,
                          text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--model", default=ROOT / "examples/phi3-tiny-onnx")
    args = parser.parse_args()
    binary = os.environ.get("PHIQUANT", str(ROOT / "build/release/phiquant"))
    parts = perplexity.windows(np.load(perplexity.IDS), 256, args.tokens)
    baseline = perplexity.logits_of(perplexity.open_session(perplexity.model_file(args.model)), parts)
    print("| options | MB | weights SQNR, dB | perplexity | KL | top-1 |\n|---|---|---|---|---|---|")
    for name, options in ROWS.items():
        if args.only not in name:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            out = pathlib.Path(scratch) / "out"
            report = quantize(binary, args.model, options, out)
            session = perplexity.open_session(out / "model.onnx")
            result = perplexity.score(parts, perplexity.logits_of(session, parts), baseline)
        sqnr = report["total_sqnr_db"]
        print(f"| {name} | {report['output_bytes'] / 1e6:.2f} | {'exact' if sqnr is None else f'{sqnr:.2f}'} | "
              f"{result['perplexity']:.3f} | {result['kl']:.6f} | {result['top1']:.3f} |", flush=True)


if __name__ == "__main__":
    main()
