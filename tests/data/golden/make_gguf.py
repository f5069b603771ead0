#!/usr/bin/env python3
"""Writes tests/data/golden/gguf: small weights and the blocks that llama.cpp's own quantizers make of them.

Run with a Python that has numpy and xllamacpp, whose extension module holds the whole of ggml. Made with xllamacpp
2026.10.11549 (llama.cpp b11549) on x86-64; its ggml-quants.c is compiled without fused multiply-add, as in the
release builds. Prints how many cases and bytes it wrote.

  <name>_<rows>x<k>.f32   row-major float32
  importance_<k>.f32      an imatrix for rows of k values
  <type>.gold             cases one after another. A case is a line "matrix rows k importance hash\\n" and a blob:
                          a little-endian uint32 size and the rows' blocks. importance is 0 or 1; hash: FNV-1a
                          (64 bits, hexadecimal) of the float32 values that ggml decodes the blocks to.
"""
import ctypes
import importlib.util
import pathlib
import struct
import sys

import numpy as np

OUT = pathlib.Path(__file__).resolve().parent / "gguf"
# name: ggml_type, and whether an imatrix changes what is written
TYPES = {
    "q4_0": (2, True), "q4_1": (3, True), "q5_0": (6, True), "q5_1": (7, True), "q8_0": (8, False),
    "q2_k": (10, True), "q3_k": (11, True), "q4_k": (12, True), "q5_k": (13, True), "q6_k": (14, True),
    "iq4_nl": (20, True), "iq4_xs": (23, True), "tq1_0": (34, False), "tq2_0": (35, False), "mxfp4": (39, False),
}


class Ggml:
    def __init__(self):
        spec = importlib.util.find_spec("xllamacpp")
        lib = ctypes.CDLL(str(next(pathlib.Path(spec.origin).parent.glob("xllamacpp*.so"))))
        lib.ggml_quantize_chunk.restype = lib.ggml_row_size.restype = ctypes.c_size_t
        lib.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64,
                                            ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
        lib.ggml_row_size.argtypes = [ctypes.c_int, ctypes.c_int64]
        self.lib = lib

    def quantize(self, name, x, importance=None):
        kind, (rows, k) = TYPES[name][0], x.shape
        x = np.ascontiguousarray(x, np.float32)
        out = np.zeros(rows * self.lib.ggml_row_size(kind, k), np.uint8)
        weights = None if importance is None else importance.ctypes.data
        self.lib.ggml_quantize_chunk(kind, x.ctypes.data, out.ctypes.data, 0, rows, k, weights)
        return out.tobytes()

    def decode(self, name, blocks, n):
        suffix = name[:-1] + "K" if name.endswith("_k") else name
        function = getattr(self.lib, "dequantize_row_" + suffix)
        function.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int64]
        function.restype = None
        y = np.empty(n, np.float32)
        function(blocks, y.ctypes.data, n)
        return y


def fnv1a(data):
    value = 0xcbf29ce484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001b3 & 0xffffffffffffffff
    return value


def to_bf16(x):
    """Rounds to bfloat16, half away from zero: what matters is that few mantissas remain."""
    return ((x.view(np.uint32) + 0x8000) & 0xffff0000).view(np.float32)


def plain_matrix(rows, k, seed):
    """Normal weights of several sizes; every third row in bfloat16, so that ties happen."""
    rng = np.random.default_rng(seed)
    w = (rng.standard_normal((rows, k)) * 10 ** rng.uniform(-3, 0.5, (rows, 1))).astype(np.float32)
    w[::3] = to_bf16(np.ascontiguousarray(w[::3]))
    return w


def hard_matrix(rows, k, seed):
    """Normal weights, with parts replaced by what breaks quantizers."""
    rng = np.random.default_rng(seed)
    w = (rng.standard_normal((rows, k)) * 0.05).astype(np.float32)
    index = np.arange(k)
    hard = [
        np.zeros(k),
        np.full(k, 0.3),
        np.full(k, -0.25),
        np.abs(w[3]) + 0.01,
        -np.abs(w[4]) - 0.01,
        rng.integers(-16, 17, k) * 0.0625,
        np.where(rng.random(k) < 0.02, 40.0, w[6]),
        w[7] * 2e-5,                                 # scales that are subnormal in float16
        w[8] * 1e-9,                                 # scales that are 0 in float16
        np.where(index % 2, 0.7, -0.7),
        w[10] * 1e5,
        np.where(index % 32 == 5, -1.5, 0.0),
        np.round(w[12] * 64) / 64,
        w[13] + 3.0,
        w[14] - 3.0,
        np.where(index % 256 < 128, 0.0, w[15]),     # zero blocks inside a super-block
        np.where(index % 16 < 15, w[16], -1.0),
        np.where(index % 64 < 32, w[17], 1000.0),    # constant blocks beside small ones
        np.where(index % 256 == 77, 1e-3, 0.0),
        np.where(index == 100, -30000.0, w[19]),
        2.0 ** rng.integers(-12, 3, k) * np.where(index % 3, 1, -1),
        np.nextafter(np.float32(2.0) ** ((index // 32) % 24 - 12), np.float32(0)),  # just below powers of two
        np.linspace(-1, 1, k),
        np.where(index % 256 < 16, w[23] * 1e-7, w[23]),
    ]
    for row, values in enumerate(hard):
        w[row] = values
    return w


def extreme_matrix(rows, k, seed):
    """The ends of the float range, where squares, reciprocals and sums overflow or vanish."""
    rng = np.random.default_rng(seed)
    exponents = (-44.8, -42, -40, -39, -38.2, -37.5, -30, -20, -18, -16, -15, -14.5, 12, 15, 18, 18.6)
    w = np.empty((rows, k), np.float32)
    for r in range(rows):
        row = rng.uniform(-1, 1, k) * 10.0 ** exponents[r % len(exponents)]
        row[rng.random(k) < 0.1] = 0
        w[r] = row
    return w


def importance_of(k, seed):
    """Squared activations as an imatrix has them: spread over decades, some channels dead."""
    rng = np.random.default_rng(seed)
    v = (rng.standard_normal(k) ** 2 * 10 ** rng.uniform(-3, 2, k)).astype(np.float32)
    v[rng.random(k) < 0.05] = 0
    v[32:64] = 0
    v[96:112] = 1
    return v


def main():
    ggml = Ggml()
    matrices = {"a": plain_matrix(21, 768, 1), "b": hard_matrix(26, 512, 2), "x": extreme_matrix(16, 256, 3)}
    importance = {m.shape[1]: importance_of(m.shape[1], 10 + m.shape[1]) for m in matrices.values()}
    OUT.mkdir(parents=True, exist_ok=True)
    for old in OUT.iterdir():
        old.unlink()
    for name, w in matrices.items():
        (OUT / f"{name}_{w.shape[0]}x{w.shape[1]}.f32").write_bytes(w.astype("<f4").tobytes())
    for k, values in importance.items():
        (OUT / f"importance_{k}.f32").write_bytes(values.astype("<f4").tobytes())
    cases = 0
    for name, (_, uses_importance) in TYPES.items():
        data = b""
        for matrix, w in matrices.items():
            for with_importance in (False, True) if uses_importance else (False,):
                blocks = ggml.quantize(name, w, importance[w.shape[1]] if with_importance else None)
                decoded = ggml.decode(name, blocks, w.size)
                data += f"{matrix} {w.shape[0]} {w.shape[1]} {int(with_importance)} {fnv1a(decoded.tobytes()):016x}\n".encode()
                data += struct.pack("<I", len(blocks)) + blocks
                cases += 1
        (OUT / f"{name}.gold").write_bytes(data)
    print(cases, "cases,", sum(f.stat().st_size for f in OUT.iterdir()), "bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
