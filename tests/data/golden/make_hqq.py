#!/usr/bin/env python3
"""Writes tests/data/golden/hqq.gold: what ONNX Runtime's HQQWeightOnlyQuantizer makes of the matrices of make_blocks.py, and hqq_example.json: SHA-256 of each tensor that it makes of the bundled example.

Needs PyTorch beside the packages of tests/requirements.txt. Made with onnxruntime 1.31.1 and torch 2.15.0 on x86-64 with
AVX-512; its AVX2 and plain code give the same bytes. The format is that of make_blocks.py, with one more number
in a case's line: the steps that the solver took. It stops by a mean over the whole weight, summed in float, in an order
that depends on the number of threads.
"""
import hashlib
import json
import logging
import pathlib

import onnx
import torch

import make_blocks as blocks


def run(model, bits, block):
    """Codes, scales, zero points, and the number of steps (the solver takes one mean along an axis in each)."""
    steps, mean = [], torch.mean
    torch.mean = lambda *args, **options: steps.append(1) or mean(*args, **options)
    config = blocks.nbits.HQQWeightOnlyQuantConfig(block_size=block, bits=bits)
    quantizer = blocks.nbits.MatMulNBitsQuantizer(model, block_size=block, algo_config=config)
    try:
        quantizer.process()
    finally:
        torch.mean = mean
    tensors = {t.name: t for t in quantizer.model.model.graph.initializer}
    return [blocks.raw(tensors[name]) for name in (f"w_Q{bits}", "w_scales", "w_zero_points")], len(steps)


def example():
    """Tensor name -> the first 16 hex digits of the SHA-256 of its bytes."""
    model = onnx.load(str(pathlib.Path(__file__).resolve().parents[3] / "examples/phi3-tiny-onnx/model.onnx"))
    before = {t.name for t in model.graph.initializer}
    config = blocks.nbits.HQQWeightOnlyQuantConfig(block_size=32, bits=4)
    quantizer = blocks.nbits.MatMulNBitsQuantizer(model, block_size=32, algo_config=config)
    quantizer.process()
    made = [t for t in quantizer.model.model.graph.initializer if t.name not in before]
    return {t.name: hashlib.sha256(blocks.raw(t)).hexdigest()[:16] for t in made}


def main():
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    golden = blocks.Golden()
    for bits in (4, 2):
        for dtype, block, matrix in (("f32", 16, "a"), ("f32", 32, "b"), ("f32", 32, "c"), ("f32", 64, "c"), ("f32", 128, "b"),
                                     ("f32", 256, "b"), ("f16", 32, "c"), ("f16", 64, "a")):
            weight = golden.weight(matrix, dtype)
            blobs, steps = run(blocks.one_node_model("MatMul", weight, dtype), bits, block)
            golden.add("hqq", bits, block, False, dtype, matrix, *blobs, steps=steps)
    path = blocks.OUT.parent / "hqq.gold"
    path.write_bytes(golden.files["hqq"])
    hashes = example()
    (blocks.OUT.parent / "hqq_example.json").write_text(json.dumps(hashes, indent=0, sort_keys=True) + "\n")
    print(golden.cases, "cases,", path.stat().st_size, "bytes,", len(hashes), "tensors of the example")


if __name__ == "__main__":
    main()
