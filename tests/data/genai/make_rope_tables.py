#!/usr/bin/env python3
"""Makes tests/data/genai/rope_tables.npz: the rotary tables that ONNX Runtime GenAI's model builder writes, in brief.

    make_rope_tables.py REFERENCE [OUT]      REFERENCE as for make_hashes.py, its cpu-fp32 folders whole

The builder's cosines and sines are PyTorch's, whose vector library (Intel oneMKL) is one unit in the last place off the
nearest float in 1 of 20 values. Its bits depend on the processor and on how work is split among threads. Per checkpoint and branch: the inverse frequencies, the scale, and per value the difference.
tests/runtime/genai_graph.py puts them together again. The tables came from torch 2.15.0.
"""
import argparse
import json
import pathlib
import sys

import numpy as np
import onnx

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/runtime"))
import genai_graph  # noqa: E402


def branches(config):
    """Name, factors, scale and length of each table, as the builder reads them from config.json."""
    context, original = config["max_position_embeddings"], config.get("original_max_position_embeddings")
    scaling = config.get("rope_scaling")
    if not scaling:
        return [("all", None, 1.0, context)]
    scale = float(np.sqrt(1 + np.log(context / original) / np.log(original)))
    return [("large", scaling["long_factor"], scale, context), ("small", scaling["short_factor"], scale, original)]


def recorded(folder, branch, kind):
    tensors = json.loads((folder / "cpu-fp32/tensors.json").read_text())["model.onnx"]["tensors"]
    return next(v["sha256"] for k, v in tensors.items() if f"{kind}_cache" in k and (branch == "all" or f"/{branch}/" in k))


def written(folder, branch, kind, length):
    """The table that the builder wrote."""
    name = f"{kind}_cache" if branch == "all" else f"{kind}_cache_{branch}"
    data = genai_graph.tensors(onnx.load(str(folder / "model.onnx")))[name]
    if genai_graph.digest_of(data) != recorded(folder.parent, branch, kind)[:16]:
        sys.exit(f"{folder} {branch}/{kind}: not the builder's table")
    return np.frombuffer(data, np.float32).reshape(length, -1)


def difference(table, kind, inverse, scale):
    """In units of the last place, from the nearest floats."""
    nearest = genai_graph.nearest(kind, len(table), inverse) * np.float32(scale)
    return table.view(np.int32).astype(np.int64) - nearest.view(np.int32)


def fit(tables, inverse, scale):
    """PyTorch's power, too, depends on the processor: floats near each inverse frequency are tried."""
    candidates = [(inverse.view(np.int32) + units).view(np.float32) for units in (0, -1, 1, -2, 2, -3, 3)]
    errors = [np.abs(difference(tables["cos"], "cos", c, scale)).max(0) for c in candidates]
    return np.choose(np.argmin(errors, 0), candidates)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path, nargs="?", default=genai_graph.ROPE_TABLES)
    args = parser.parse_args()
    out = {}
    for name in sorted(p.name for p in args.reference.iterdir() if (p / "cpu-fp32/tensors.json").exists()):
        config = json.loads((genai_graph.checkpoint(name) / "config.json").read_text())
        for branch, factors, scale, length in branches(config):
            inverse, at = genai_graph.inverse_frequencies(config, factors), f"{name}/{branch}"
            folder = args.reference / name / "cpu-fp32"
            tables = {kind: written(folder, branch, kind, length) for kind in ("cos", "sin")}
            fitted = fit(tables, inverse, scale)
            print(at, (fitted != inverse).sum(), "inverse frequencies are not the nearest float's")
            out[f"{at}/inverse"], out[f"{at}/scale"], out[f"{at}/length"] = fitted, np.float32(scale), length
            for kind, table in tables.items():
                units = difference(table, kind, fitted, scale)
                if np.abs(units).max() > 2:
                    sys.exit(f"{at}/{kind}: more than two units in the last place off")
                out[f"{at}/{kind}"] = units.astype(np.int8)
                out[f"{at}/{kind}_sha256"] = genai_graph.digest_of(table.tobytes())
                print(at, kind, f"{(units != 0).mean():.4f} of the values differ from the nearest float, by at most {np.abs(units).max()}")
    np.savez_compressed(args.out, **out)
    print(args.out.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
