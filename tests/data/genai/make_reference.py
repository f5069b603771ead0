#!/usr/bin/env python3
"""Makes the folder that make_hashes.py and make_rope_tables.py read: what ONNX Runtime GenAI's model builder makes of
the bundled checkpoints.

    make_reference.py REFERENCE [--only TEXT]      --only: folders whose <checkpoint>/<name> has TEXT in it

Made with onnxruntime-genai 0.18.0, onnxruntime 1.31.1, torch 2.15.0 and transformers 5.23.0 on one thread: the rotary
tables depend on the number of threads. Per variant tensors.json (../describe.py), genai_config.json and graph.onnx, the
graph without tensors of more than 1 KiB; a few folders stay whole (WHOLE). phimoe-tiny is left out: the builder fails.
"""
import argparse
import json
import os
import pathlib
import shutil
import sys

os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
import onnx  # noqa: E402
import torch  # noqa: E402

DATA = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(DATA), str(DATA.parent / "runtime")]
import describe  # noqa: E402
import genai_graph  # noqa: E402

PAIRS = ("cpu-int4", "cpu-int8", "cpu-fp32", "cuda-int4", "cuda-fp16", "dml-int4", "webgpu-int4")
MORE_PAIRS = ("cuda-int8", "cuda-bf16", "dml-fp16", "webgpu-fp16")
# The builder's extra options for the trained checkpoints. Names with int4_ in front, still in its help, do nothing.
EXTRA = {
    "cpu-int4": ["accuracy_level=1", "algo_config=k_quant", "algo_config=k_quant_last", "algo_config=k_quant_mixed",
                 "algo_config=rtn", "algo_config=rtn_last", "block_size=16", "block_size=64", "block_size=128",
                 "block_size=128 is_symmetric=false", "is_symmetric=false", "matmul_mixed_precision=last_matmul:int8",
                 "nodes_to_exclude=/lm_head/MatMul", "op_types_to_quantize=MatMul/Gather", "use_qdq=true",
                 "shared_embeddings=false", "shared_embeddings=false is_symmetric=false",
                 "shared_embeddings=false use_qdq=true",
                 "shared_embeddings=false matmul_mixed_precision=last_matmul:int8"],
    "cpu-int8": ["block_size=128", "is_symmetric=false"],
}
TRAINED = [*((pair, "") for pair in (*PAIRS, *MORE_PAIRS)),
           *((pair, o) for pair, extra in EXTRA.items() for o in extra)]
PLAN = {"phi3-tiny": TRAINED, "phi4-tiny": TRAINED, "phi3-4k-tiny": [(p, "") for p in PAIRS],
        "phi2-tiny": [(p, "") for p in PAIRS]}
WHOLE = ("cpu-fp32", "cpu-int4", "cpu-int4-algo_config_k_quant_mixed")
# The builder stops at DequantizeLinear for the shared table of a tied checkpoint; the other was not recorded.
IMPOSSIBLE = {("phi4-tiny", "cpu-int4-use_qdq_true"),
              ("phi3-tiny", "cpu-int4-shared_embeddings_false-matmul_mixed_precision_last_matmul_int8")}
NOT_WHOLE = {("phi4-tiny", "cpu-int4-algo_config_k_quant_mixed")}


def folder_name(pair, options):
    plain = options.replace("/lm_head/MatMul", "lm_head").replace("/", "+")
    return "-".join([pair, *(o.replace("=", "_").replace(":", "_") for o in plain.split())])


def build(source, out, pair, options):
    import onnxruntime_genai.models  # noqa: F401  (puts the builder on the path)
    import builder
    target, precision = pair.split("-")
    cache = out.with_name(out.name + ".cache")
    common = (None, str(source), str(out), precision, target, str(cache))
    builder.create_model(*common, **builder.parse_extra_options(*common, options.split()))
    shutil.rmtree(cache, ignore_errors=True)


def strip(folder):
    """model.onnx and its data -> graph.onnx."""
    model = onnx.load(str(folder / "model.onnx"), load_external_data=False)
    for _, tensor in describe.tensors_of(model.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL and len(tensor.raw_data) > 1024:
            tensor.ClearField("raw_data")
    (folder / "graph.onnx").write_bytes(model.SerializeToString())
    for file in folder.iterdir():
        if file.name not in ("graph.onnx", "genai_config.json"):
            file.unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", type=pathlib.Path)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for checkpoint, variants in PLAN.items():
        for pair, options in variants:
            name = folder_name(pair, options)
            if (checkpoint, name) in IMPOSSIBLE or args.only not in f"{checkpoint}/{name}":
                continue
            out = args.reference.resolve() / checkpoint / name
            shutil.rmtree(out, ignore_errors=True)
            out.parent.mkdir(parents=True, exist_ok=True)
            build(genai_graph.checkpoint(checkpoint), out, pair, options)
            tensors = describe.describe(out)
            if name not in WHOLE or (checkpoint, name) in NOT_WHOLE:
                strip(out)
            (out / "tensors.json").write_text(json.dumps(tensors, indent=1) + "\n")
            print(checkpoint, name, flush=True)


if __name__ == "__main__":
    main()
