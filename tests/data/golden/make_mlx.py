#!/usr/bin/env python3
"""Writes tests/data/golden/mlx: small weights, and hashes of what MLX's own quantizer makes of them.

Run with the interpreter that `tools/setup --tests` installs; `tools/setup --print-python` prints its path. Made with
mlx 0.32.4 on the CPU. Prints how many cases it wrote.

  rows_32x512.f32   row-major float32. f16 and bf16 weights are these, rounded half to even.
  hashes.txt        a line per case: dtype mode bits group, then FNV-1a (64 bits, hex) of codes, scales and biases
                    (- where there are none). f16 leaves out the rows from FIRST_WIDE_ROW on, which it cannot hold.
"""
import pathlib

import mlx.core as mx
import numpy as np

OUT = pathlib.Path(__file__).resolve().parent / "mlx"
DTYPES = {"f32": mx.float32, "f16": mx.float16, "bf16": mx.bfloat16}
FIRST_WIDE_ROW = 20
MODES = [("affine", bits, group) for bits in (2, 3, 4, 5, 6, 8) for group in (32, 64, 128)]
MODES += [("mxfp4", 4, 32), ("nvfp4", 4, 16), ("mxfp8", 8, 32)]


def rows(k=512):
    """Normal weights, most rows replaced by what breaks quantizers."""
    rng = np.random.default_rng(20261122)
    normal = lambda scale: rng.standard_normal(k) * scale
    sign = lambda: np.where(rng.random(k) < 0.5, -1.0, 1.0)
    halves = [6, 5, 3.5, 2.5, 1.75, 1.25, 0.75, 0.25]
    eighths = np.concatenate([[448.0], np.arange(17, 32) / 16])
    values = [
        np.zeros(k), np.full(k, -0.0), np.abs(normal(0.05)), -np.abs(normal(0.05)),  # zeros, one sign
        np.full(k, 0.37), np.full(k, -0.37), sign() * 0.25,              # constants, equal extremes
        np.arange(k) % 16 * 0.0625 - 0.5, rng.integers(-8, 8, k),        # grids
        np.tile(halves + [-v for v in halves[::-1]], k // 16),           # half-way points of E2M1
        np.tile(eighths, k // 16),                                       # and of E4M3
        2.0 ** rng.integers(-14, 14, k), sign() * 1e-7, normal(3e-7), normal(1e-5), normal(3e3),
        np.where(np.arange(k) % 32 == 5, 30.0, normal(0.05)), normal(0.02) + 3,
        normal(0.05), normal(1.0),
        normal(1e30), normal(1e33), sign() * 3e38, np.full(k, 2.5e38), normal(1e-40), normal(1e-37),
        normal(1e9), normal(1e10), normal(3e10), normal(1e11), normal(1e12), normal(1e20),
    ]
    with np.errstate(over="ignore"):
        out = np.stack(values).astype(np.float32)
    return np.where(np.isfinite(out), out, np.float32(3e38))


def fnv(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{h:016x}"


def raw(a):
    return np.array(a.view(mx.uint16) if a.dtype in (mx.float16, mx.bfloat16) else a).tobytes()


def main():
    mx.set_default_device(mx.cpu)
    OUT.mkdir(parents=True, exist_ok=True)
    x = rows()
    x.astype("<f4").tofile(OUT / f"rows_{x.shape[0]}x{x.shape[1]}.f32")
    lines = []
    for name, dtype in DTYPES.items():
        w = mx.array(x[:FIRST_WIDE_ROW] if name == "f16" else x).astype(dtype)
        assert np.isfinite(np.array(w.astype(mx.float32))).all(), name
        for mode, bits, group in MODES:
            planes = [fnv(raw(p)) for p in mx.quantize(w, group_size=group, bits=bits, mode=mode)] + ["-"]
            lines.append(" ".join([name, mode, str(bits), str(group), *planes[:3]]))
    (OUT / "hashes.txt").write_text("\n".join(lines) + "\n")
    print(f"{len(lines)} cases")


if __name__ == "__main__":
    main()
