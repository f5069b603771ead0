#!/usr/bin/env python3
"""Writes seeds for the fuzzer of quantized MLX tensors.

usage: make_mlx_corpus.py FOLDER

A seed is a byte for the architecture (0 phi, 1 phi3, 2 phimoe), three for the size of the data, the `quantization`
section of config.json, a line feed, and the header of a safetensors file, as tests/fuzz/mlx_weights_fuzz.cc takes
them apart.
"""
import json
import pathlib
import sys

BYTES = {"U32": 4, "U8": 1, "F16": 2, "BF16": 2, "F32": 4, "I16": 2}
BASE = {"group_size": 32, "bits": 4, "mode": "affine"}
DOWN = "model.layers.0.mlp.down_proj"            # [64, 96]
QKV = "model.layers.1.self_attn.qkv_proj"        # [192, 64]
EXPERTS = "model.layers.0.block_sparse_moe.switch_mlp.gate_proj"  # [4, 96, 64]


def header(tensors):
    out, at = {"__metadata__": {"format": "mlx"}}, 0
    for name, (dtype, shape) in tensors.items():
        size = BYTES[dtype]
        for n in shape:
            size *= n
        out[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    return json.dumps(out), at


def module(path, shape, bits, group, scales="BF16"):
    *rows, k = shape
    parts = {f"{path}.weight": ("U32", [*rows, k * bits // 32]), f"{path}.scales": (scales, [*rows, k // group])}
    if scales != "U8":
        parts[f"{path}.biases"] = (scales, [*rows, k // group])
    return parts


def seeds():
    yield "affine", 1, BASE, module(DOWN, [64, 96], 4, 32) | {"model.norm.weight": ("BF16", [64])}
    for bits in (2, 3, 5, 6, 8):
        yield f"affine{bits}", 1, BASE, module(QKV, [192, 64], bits, 64, "F16")
    yield "mxfp4", 1, {"group_size": 32, "bits": 4, "mode": "mxfp4"}, module(DOWN, [64, 96], 4, 32, "U8")
    yield "nvfp4", 1, {"group_size": 16, "bits": 4, "mode": "nvfp4"}, module(DOWN, [64, 96], 4, 16, "U8")
    yield "mxfp8", 1, {"group_size": 32, "bits": 8, "mode": "mxfp8"}, module(DOWN, [64, 96], 8, 32, "U8")
    yield "experts", 2, BASE, module(EXPERTS, [4, 96, 64], 4, 64, "F32")
    yield "own", 1, BASE | {DOWN: {"group_size": None, "bits": 8, "mode": "affine"}, QKV: False}, \
        module(DOWN, [64, 96], 8, 32) | {f"{QKV}.weight": ("F16", [192, 64])}
    yield "other-bits", 1, BASE | {DOWN: {"bits": 3}}, module(DOWN, [64, 96], 4, 32)
    without = module(DOWN, [64, 96], 4, 32)
    del without[f"{DOWN}.biases"]
    yield "no-biases", 1, BASE, without
    yield "unknown", 0, BASE, module("model.layers.0.mlp.fc9", [64, 96], 4, 32)
    yield "wide", 1, BASE, {f"{DOWN}.weight": ("U32", [64, 97]), f"{DOWN}.scales": ("I16", [64, 3])}


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, arch, section, tensors in seeds():
        text, size = header(tensors)
        head = bytes([arch]) + size.to_bytes(3, "little")
        (folder / name).write_bytes(head + f"{json.dumps(section)}\n{text}".encode())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main()
