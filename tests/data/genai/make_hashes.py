#!/usr/bin/env python3
"""Makes tests/data/genai/<checkpoint>.json: what ONNX Runtime GenAI's model builder makes of a checkpoint, in brief.

    make_hashes.py REFERENCE OUT             REFERENCE holds <checkpoint>/<target>-<precision>[-option]/ folders, each
                                             with the builder's graph (model.onnx, or graph.onnx without large tensors),
                                             tensors.json (SHA-256 of every tensor) and genai_config.json

Per variant: phiquant's options for the same thing, the first 16 hex digits of each tensor's SHA-256, a SHA-256 of the
graph's nodes, inputs and outputs (tests/runtime/genai_graph.py), genai_config.json, and for whole float32 folders the
64 tokens that onnxruntime-genai generates after a fixed prompt (not of quantized ones: docs/testing.md). Made with
onnxruntime-genai 0.18.0.
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

# The builder's extra options (as in the folders' names) and ours.
OPTIONS = {
    "": [],
    "accuracy_level_1": ["--accuracy-level", "1"],
    "algo_config_k_quant": ["--scheme", "k_quant"],
    "algo_config_k_quant_last": ["--scheme", "k_quant", "--lm-head", "int8"],
    "algo_config_k_quant_mixed": ["--scheme", "k_quant", "--lm-head", "int8", "--mixed-layers"],
    "algo_config_rtn": ["--scheme", "rtn", "--symmetric"],
    "algo_config_rtn_last": ["--scheme", "rtn", "--symmetric", "--lm-head", "int8"],
    "block_size_16": ["--block-size", "16"],
    "block_size_64": ["--block-size", "64"],
    "block_size_128": ["--block-size", "128"],
    "block_size_128-is_symmetric_false": ["--block-size", "128", "--asymmetric"],
    "is_symmetric_false": ["--asymmetric"],
    "matmul_mixed_precision_last_matmul_int8": ["--lm-head", "int8"],
    "nodes_to_exclude_lm_head": ["--exclude", "/lm_head/MatMul"],
    "op_types_to_quantize_MatMul+Gather": ["--embeddings", "int4"],
    "use_qdq_true": ["--style", "qdq"],
    "shared_embeddings_false": ["--embeddings", "keep"],
    "shared_embeddings_false-is_symmetric_false": ["--embeddings", "keep", "--asymmetric"],
    "shared_embeddings_false-use_qdq_true": ["--embeddings", "keep", "--style", "qdq"],
    "shared_embeddings_false-matmul_mixed_precision_last_matmul_int8": ["--embeddings", "keep", "--lm-head", "int8"],
}
PAIRS = ("cpu-int4", "cpu-int8", "cpu-fp32", "cuda-int4", "cuda-int8", "cuda-fp16", "cuda-bf16", "dml-int4", "dml-fp16",
         "webgpu-int4", "webgpu-fp16")
# Of a tied checkpoint these do not load: the embedding refers to tensors that are not there. Only their tensors count.
BROKEN = {("phi4-tiny", v) for v in ("cpu-int4-is_symmetric_false", "cpu-int4-block_size_128-is_symmetric_false",
                                     "cpu-int4-matmul_mixed_precision_last_matmul_int8")}
# The builder's default for tied checkpoints; asking for it too would be a second option of ours.
SAME = {("phi4-tiny", "cpu-int4-op_types_to_quantize_MatMul+Gather")}


def describe(checkpoint, folder, prompts):
    target, precision, *extra = folder.name.split("-", 2)
    if f"{target}-{precision}" not in PAIRS or (extra[0] if extra else "") not in OPTIONS:
        return None
    if (checkpoint, folder.name) in SAME:
        return None
    tensors = json.loads((folder / "tensors.json").read_text())["model.onnx"]["tensors"]
    entry = {
        "options": ["--target", target, "-p", precision, *OPTIONS[extra[0] if extra else ""]],
        "tensors": {k: v["sha256"][:16] for k, v in tensors.items()
                    if not genai_graph.is_rope_table(k) and not k.startswith("/model/constant_nodes/")},
        "config": json.loads((folder / "genai_config.json").read_text()),
    }
    whole = (folder / "model.onnx").exists()
    graph = onnx.load(str(folder / ("model.onnx" if whole else "graph.onnx")), load_external_data=False).graph
    if (checkpoint, folder.name) in BROKEN:
        entry["tensors"].pop("lm_head.MatMul.weight", None)
    else:
        entry["graph"] = genai_graph.digest(graph)
    if whole and (target, precision) == ("cpu", "fp32"):
        entry["greedy"] = {name: genai_graph.greedy(folder, prompt) for name, prompt in prompts.items()}
    return entry


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for checkpoint in sorted(p for p in args.reference.iterdir() if p.is_dir()):
        logits = np.load(genai_graph.checkpoint(checkpoint.name) / "logits.npz")
        prompts = {name: [int(t) for t in logits[f"{name}_ids"].reshape(-1)] for name in ("short", "long")}
        table = {}
        for folder in sorted(p for p in checkpoint.iterdir() if p.is_dir()):
            entry = describe(checkpoint.name, folder, prompts)
            if entry:
                table[folder.name] = entry
        (args.out / f"{checkpoint.name}.json").write_text(json.dumps(table, separators=(",", ":")) + "\n")
        print(checkpoint.name, len(table), "variants")


if __name__ == "__main__":
    main()
