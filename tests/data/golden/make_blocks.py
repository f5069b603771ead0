#!/usr/bin/env python3
"""Writes tests/data/golden/blocks: small weights and what ONNX Runtime's own quantizers make of them.

Run with the interpreter that `tools/setup --tests` installs; `tools/setup --print-python` prints its path. Made with
onnxruntime 1.31.1 on x86-64. Prints how many cases and bytes it wrote.

  <name>_<K>x<N>.f32   row-major float32 [K, N]. f16 and bf16 weights are these, rounded half to even.
  <scheme>.gold        cases one after another. A case is a line "bits block symmetric dtype matrix k n\\n" (the first k
                       rows of the matrix) and three blobs, each a little-endian uint32 size and bytes: codes, scales
                       (in the weight's dtype), zero points (size 0: none), as in the initializers' raw data.
"""
import logging
import pathlib
import struct
import sys
import warnings

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import matmul_nbits_quantizer as nbits
from onnxruntime.quantization import quant_utils

OUT = pathlib.Path(__file__).resolve().parent / "blocks"
DTYPES = {"f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16}
ONNX_TYPES = {"f32": TensorProto.FLOAT, "f16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


def hard_matrix(k, n, seed):
    """Normal weights, the first columns replaced by what breaks quantizers. Finite in float16."""
    rng = np.random.default_rng(seed)
    w = (rng.standard_normal((k, n)) * 0.05).astype(np.float32)
    tie = rng.integers(-16, 17, k) * np.float32(0.0625)
    columns = [
        np.zeros(k),                                     # zero blocks
        np.abs(w[:, 1]) + 0.01,                          # one sign
        -np.abs(w[:, 2]) - 0.5,                          # one sign, far from zero
        tie * 0.5,                                       # ties: halves of a power-of-two scale
        np.where(rng.random(k) < 0.02, 40.0, w[:, 4]),   # outliers
        w[:, 5] * 2e-5,                                  # scales that are subnormal in f16
        w[:, 6] * 1e-38,                                 # subnormal floats, 0 in f16
        np.full(k, 0.3),                                 # constant
        np.full(k, -0.25),
        np.where(np.arange(k) % 2, 0.7, -0.7),           # equal extremes
        w[:, 10] * 4e5,                                  # near the end of f16
        np.where(np.arange(k) % 16 == 5, -1.5, 0.0),     # one value a block
        np.round(w[:, 12] * 64) / 64,                    # few distinct values
        w[:, 13] + 3.0,                                  # far from zero, narrow
    ]
    for c, values in enumerate(columns):
        w[:, c] = values
    w[:, 10] = np.clip(w[:, 10], -65000, 65000)
    return w


def extreme_matrix(k, n, seed):
    """Only for float32: ends of the float range, where reciprocals and differences overflow."""
    rng = np.random.default_rng(seed)
    w = np.empty((k, n), np.float32)
    for c in range(n):
        exponent = (-44, -42, -40, -39, -38.2, -37.5, -37, -36, -30, 30, 36, 37.5, 38, 38.2, 38.4, 38.45)[c % 16]
        column = rng.uniform(-1, 1, k) * 10.0 ** exponent
        column[rng.random(k) < 0.2] = 0
        w[:, c] = np.clip(column, -3.4e38, 3.4e38)
    return w


def calm_matrix(k, n, seed):
    """The hard matrix without what sends the fast encoders to their reference (zero and tiny blocks)."""
    w = hard_matrix(k, n, seed)
    rng = np.random.default_rng(seed + 100)
    for c in (0, 5, 6, 11):
        w[:, c] = rng.standard_normal(k) * 0.05
    return w


class Golden:
    def __init__(self):
        self.matrices = {"a": hard_matrix(168, 21, 1), "b": hard_matrix(280, 18, 2), "c": calm_matrix(104, 19, 4),
                         "x": extreme_matrix(48, 19, 3)}
        self.files, self.cases = {}, 0

    def add(self, scheme, bits, block, symmetric, dtype, matrix, codes, scales, zero_points, k=None, steps=None):
        rows, n = self.matrices[matrix].shape
        extra = "" if steps is None else f" {steps}"
        data = f"{bits} {block} {int(symmetric)} {dtype} {matrix} {k or rows} {n}{extra}\n".encode()
        for blob in (codes, scales, zero_points):
            data += struct.pack("<I", len(blob)) + blob
        self.files[scheme] = self.files.get(scheme, b"") + data
        self.cases += 1

    def weight(self, matrix, dtype):
        return self.matrices[matrix].astype(DTYPES[dtype])

    def write(self):
        OUT.mkdir(parents=True, exist_ok=True)
        for old in OUT.iterdir():
            old.unlink()
        for name, w in self.matrices.items():
            (OUT / f"{name}_{w.shape[0]}x{w.shape[1]}.f32").write_bytes(w.astype("<f4").tobytes())
        for scheme, data in self.files.items():
            (OUT / f"{scheme}.gold").write_bytes(data)
        print(self.cases, "cases,", sum(f.stat().st_size for f in OUT.iterdir()), "bytes")


def raw(tensor):
    """The bytes of an initializer, b"" for none."""
    if tensor is None:
        return b""
    return tensor.raw_data if tensor.raw_data else numpy_helper.to_array(tensor).tobytes()


def one_node_model(op, w, dtype):
    weight = helper.make_tensor("w", ONNX_TYPES[dtype], w.shape, w.tobytes(), True)
    inputs = ["a", "w"] if op == "MatMul" else ["w", "a"]
    a_type = ONNX_TYPES[dtype] if op == "MatMul" else TensorProto.INT64
    graph = helper.make_graph(
        [helper.make_node(op, inputs, ["y"], "node")], "g",
        [helper.make_tensor_value_info("a", a_type, ["m", w.shape[0]] if op == "MatMul" else ["m"])],
        [helper.make_tensor_value_info("y", ONNX_TYPES[dtype], None)], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def run(model, bits, block, symmetric, algorithm, quant_format):
    """Raw codes, scales and zero points that the quantizer leaves as initializers."""
    config = None
    custom = {"node": {"bits": bits}}
    if algorithm == "rtn":
        config = nbits.RTNWeightOnlyQuantConfig(customized_weight_config=custom)
    elif algorithm == "k_quant":
        config = nbits.KQuantWeightOnlyQuantConfig(customized_weight_config=custom)
    quantizer = nbits.MatMulNBitsQuantizer(
        model, bits=bits, block_size=block, is_symmetric=symmetric, accuracy_level=0, quant_format=quant_format,
        op_types_to_quantize=("MatMul", "Gather"), algo_config=config)
    quantizer.process()
    tensors = {t.name: t for t in quantizer.model.model.graph.initializer}
    find = lambda *ends: next((t for name, t in tensors.items() if name.endswith(ends)), None)
    codes = next(t for name, t in tensors.items() if "_Q" in name)
    zero = None if symmetric and algorithm != "k_quant" else find("_zp", "_zero_points", "_zero_point")
    return raw(codes), raw(find("_scale", "_scales")), raw(zero)


def nbits_cases(golden):
    """MatMulNBits: default, RTN and k_quant."""
    operator = quant_utils.QuantFormat.QOperator
    for scheme, bit_list in (("matmul_nbits", (4, 8, 2)), ("rtn", (4, 8)), ("k_quant", (4, 8))):
        for bits in bit_list:
            for symmetric in (False,) if scheme == "k_quant" else (True, False):
                for dtype, blocks in (("f32", (16, 32, 64, 128, 256)), ("f16", (16, 32, 256)), ("bf16", (32, 128))):
                    if dtype == "bf16" and scheme != "matmul_nbits":
                        continue
                    for block in blocks:
                        for matrix in ("a", "b", "c") if block == 32 else ("b",) if block == 256 else ("a",):
                            add_nbits(golden, scheme, bits, block, symmetric, dtype, matrix, operator)
                add_nbits(golden, scheme, bits, 16, symmetric, "f32", "x", operator)


def add_nbits(golden, scheme, bits, block, symmetric, dtype, matrix, quant_format):
    w = golden.weight(matrix, dtype)
    if scheme != "matmul_nbits" and bits == 4 and -(-w.shape[0] // block) % 2:
        w = w[: w.shape[0] // block * block]   # the port cannot pack zero points of an odd number of blocks
        if len(w) // block % 2:
            return
    blobs = run(one_node_model("MatMul", w, dtype), bits, block, symmetric, scheme, quant_format)
    golden.add(scheme, bits, block, symmetric, dtype, matrix, *blobs, k=len(w))


def qdq_cases(golden):
    for symmetric in (True, False):
        for dtype, block, matrix in (("f32", 16, "a"), ("f32", 32, "b"), ("f32", 256, "b"), ("f16", 32, "a"),
                                     ("f32", 32, "c"), ("f16", 128, "b"), ("bf16", 32, "a"), ("f32", 16, "x")):
            w = golden.weight(matrix, dtype)
            blobs = run(one_node_model("MatMul", w, dtype), 4, block, symmetric, "qdq", quant_utils.QuantFormat.QDQ)
            golden.add("qdq", 4, block, symmetric, dtype, matrix, *blobs)
            if dtype != "bf16":
                golden.add("qdq", 8, block, symmetric, dtype, matrix, *blocked_8bit(w, dtype, block, symmetric))


def blocked_8bit(w, dtype, block, symmetric):
    kind = TensorProto.INT8 if symmetric else TensorProto.UINT8
    zero, scale = quant_utils.compute_scale_zp_blocked(w, kind, 0, block, symmetric)
    tensor = helper.make_tensor("w", ONNX_TYPES[dtype], w.shape, w.tobytes(), True)
    codes = quant_utils.quantize_onnx_initializer(tensor, kind, zero, scale, axis=0, block_size=block)
    return raw(codes), scale.tobytes(), b"" if symmetric else zero.tobytes()


def gather_cases(golden):
    """Tables are [N, K]: the matrices transposed."""
    operator = quant_utils.QuantFormat.QOperator
    for symmetric in (True, False):
        for dtype, block, matrix in (("f32", 16, "a"), ("f32", 32, "b"), ("f32", 256, "b"), ("f16", 16, "b"),
                                     ("f16", 32, "a"), ("f16", 128, "b"), ("f32", 16, "x")):
            table = np.ascontiguousarray(golden.weight(matrix, dtype).T)
            blobs = run(one_node_model("Gather", table, dtype), 4, block, symmetric, "gather", operator)
            golden.add("gather", 4, block, symmetric, dtype, matrix, *blobs)


def main():
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    golden = Golden()
    nbits_cases(golden)
    qdq_cases(golden)
    gather_cases(golden)
    golden.write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
