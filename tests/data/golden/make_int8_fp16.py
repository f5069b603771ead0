#!/usr/bin/env python3
"""Writes tests/data/golden/int8_fp16/{affine,cast}.bin with the peer's own code.

Peer: onnxruntime 1.31.1 (quantization/quant_utils.py, transformers/float16.py), numpy for the plain casts to float16,
ml_dtypes for bfloat16. Deterministic: run again, the same bytes. Formats, little-endian:

affine.bin  per case: uint32 rows, cols; uint8 dtype (0 float32, 1 float16), signed, symmetric, reduce_range,
            per_channel, 0, 0, 0; the weight rows x cols; scales float32 and zero points int32, one a column or one;
            codes rows x cols.
cast.bin    uint32 n; float32 x[n]; uint16 float16.py(x); uint16 IEEE float16(x); uint16 bfloat16(x).
"""

import itertools
import pathlib
import struct
import tempfile

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.quant_utils import quantize_data
from onnxruntime.transformers.float16 import convert_np_to_float16

PEER = "1.31.1"
OUT = pathlib.Path(__file__).resolve().parent / "int8_fp16"
ROWS, COLS = 33, 37


def hard_weight(dtype, seed):
    """A matrix whose columns are the hard cases, then plain ones."""
    rng = np.random.default_rng(seed)
    info = np.finfo(dtype)
    w = rng.normal(0, 0.05, (ROWS, COLS)).astype(dtype)
    k = np.arange(ROWS)
    w[:, 0] = 0
    w[:, 1] = np.where(k % 2, 0.0, -0.0)
    for column, limit in ((2, 127), (3, 255), (4, 64), (5, 128)):   # scale 1 or so: ties
        w[:, column] = (k - ROWS // 2 + 0.5).astype(dtype)
        w[0, column], w[1, column] = limit, -limit
        if column in (3, 5):
            w[1, column] = 0
    w[:, 6] = info.smallest_subnormal * (k % 7 - 3).astype(dtype)
    w[:, 7] = info.smallest_normal * (k % 5).astype(dtype)
    w[:, 8] = (info.smallest_normal * np.linspace(-127, 127, ROWS)).astype(dtype)     # scale at the guard
    w[:, 9] = (info.smallest_normal * np.linspace(-126, 126.5, ROWS)).astype(dtype)   # just below it
    w[:, 10] = (info.smallest_normal * np.linspace(0, 255, ROWS)).astype(dtype)
    w[:, 11] = (info.max * np.linspace(-1, 1, ROWS)).astype(dtype)
    w[:, 12] = (info.max * np.linspace(0, 1, ROWS)).astype(dtype)
    w[:, 13] = np.abs(w[:, 13]) + dtype(0.3)
    w[:, 14] = -np.abs(w[:, 14]) - dtype(0.3)
    w[:, 15] = dtype(0.3)
    w[5, 16] = 100                                                                     # outlier
    w[:, 17] = w[:, 17] * dtype(1e-3)
    w[:, 18] = (w[:, 18].astype(np.float64) * (1e-30 if dtype == np.float32 else 1e-4)).astype(dtype)
    w[:, 19] = -w[:, 20]
    return w


def quantize(w, per_channel, tensor_type, symmetric, reduce_range):
    parts = [w[:, c] for c in range(w.shape[1])] if per_channel else [w.flatten()]
    zeros, scales, codes = zip(*(quantize_data(p, tensor_type, symmetric, reduce_range) for p in parts))
    codes = np.stack(codes, 1) if per_channel else codes[0].reshape(w.shape)
    return np.array(scales).reshape(-1), np.array(zeros).reshape(-1), codes


def through_quantize_dynamic(w, per_channel, quant_type, symmetric, reduce_range):
    """The same by the public entry point, from a one-node model."""
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node], "g", [value("x", 1, [1, ROWS])], [value("y", 1, [1, w.shape[1]])],
        [onnx.numpy_helper.from_array(w, "w")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    with tempfile.TemporaryDirectory() as folder:
        source, target = pathlib.Path(folder, "a.onnx"), pathlib.Path(folder, "b.onnx")
        onnx.save(model, source)
        quantize_dynamic(source, target, per_channel=per_channel, weight_type=quant_type, reduce_range=reduce_range,
                         extra_options={"WeightSymmetric": symmetric})
        found = {i.name: onnx.numpy_helper.to_array(i) for i in onnx.load(target).graph.initializer}
    return found["w_scale"].reshape(-1), found["w_zero_point"].reshape(-1), found["w_quantized"]


def write_affine():
    out = bytearray()
    types = {True: QuantType.QInt8, False: QuantType.QUInt8}
    flags = itertools.product((np.float32, np.float16), (True, False), (True, False), (False, True), (True, False))
    for dtype, signed, symmetric, reduce_range, per_channel in flags:
        w = hard_weight(dtype, 7)
        if not per_channel:
            w = w[:, 20:]   # plain columns; the hard ones would hide each other
            if symmetric and not signed:
                w = -w * dtype(1.5)
        scales, zeros, codes = quantize(w, per_channel, types[signed].tensor_type, symmetric, reduce_range)
        assert scales.dtype == dtype and np.isfinite(w).all()
        if dtype == np.float32:
            same = through_quantize_dynamic(w, per_channel, types[signed], symmetric, reduce_range)
            assert all(np.array_equal(a, b) for a, b in zip((scales, zeros, codes), same))
        flag_bytes = (dtype == np.float16, signed, symmetric, reduce_range, per_channel, 0, 0, 0)
        out += struct.pack("<II8B", *w.shape, *flag_bytes)
        out += w.tobytes() + scales.astype("<f4").tobytes() + zeros.astype("<i4").tobytes() + codes.tobytes()
    (OUT / "affine.bin").write_bytes(out)


def cast_inputs():
    rng = np.random.default_rng(8)
    halves = np.unique(np.concatenate([np.arange(0, 64), np.arange(960, 1100), np.arange(0x7BC0, 0x7C01),
                                       rng.integers(0, 0x7C00, 700)])).astype(np.uint16)
    exact = halves.view(np.float16).astype(np.float32)
    middles = (exact[:-1].astype(np.float64) + exact[1:]) / 2   # ties where neighbours
    brains = rng.integers(0, 0x7F80, 700).astype(np.uint32) << 16
    special = np.array([5.96e-8, 5.9604645e-8, 2.0**-25, 2.0**-24, 65504, 65519.996, 65520, 65536, 3.4028235e38, 1e-45,
                        1.1754944e-38, np.inf, np.nan], np.float32)
    bits = np.concatenate([special.view(np.uint32), exact.view(np.uint32), middles.astype(np.float32).view(np.uint32),
                           brains, brains | 0x8000])
    near = np.concatenate([bits, bits + 1, bits - 1])           # and the floats next to each
    near = near[(near & 0x7FFFFFFF <= 0x7F800000) | (near & 0x400000 != 0)]   # signalling NaN: peers disagree
    noise = (rng.normal(0, 1, 1500) * 10.0 ** rng.integers(-9, 6, 1500)).astype(np.float32).view(np.uint32)
    near = np.concatenate([near, noise])
    return np.concatenate([near, near | 0x80000000]).astype(np.uint32).view(np.float32)


def write_cast():
    x = cast_inputs()
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        brain = x.astype(ml_dtypes.bfloat16).view(np.uint16)
        planes = (x, convert_np_to_float16(x).view(np.uint16), x.astype(np.float16).view(np.uint16), brain)
    (OUT / "cast.bin").write_bytes(struct.pack("<I", len(x)) + b"".join(p.tobytes() for p in planes))


if __name__ == "__main__":
    if onnxruntime.__version__ != PEER:
        raise SystemExit(f"onnxruntime {onnxruntime.__version__} found, {PEER} wanted: pip install onnxruntime=={PEER}")
    OUT.mkdir(parents=True, exist_ok=True)
    write_affine()
    write_cast()
