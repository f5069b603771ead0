#!/usr/bin/env python3
"""Writes a checkpoint with the tensors of Phi-3.5-mini (names, shapes, bfloat16) and seeded random values.

    make_checkpoint.py OUT                   4 layers: 1.3 GB
    make_checkpoint.py OUT --layers 32       7.6 GB, sharded as downloaded

The tokenizer is the bundled example's, which is smaller: enough for a converter that copies or saves it.
Needs numpy and onnx; memory stays below 200 MB.
"""
import argparse
import json
import math
import pathlib
import shutil

from make_model import HIDDEN, INTERMEDIATE, VOCABULARY, Values, to_bytes

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "examples/phi3-tiny"
HEADS, SHARD_BYTES = 32, 5_000_000_000


def shapes(layers):
    yield "model.embed_tokens.weight", (VOCABULARY, HIDDEN)
    for i in range(layers):
        prefix = f"model.layers.{i}."
        yield prefix + "input_layernorm.weight", (HIDDEN,)
        yield prefix + "self_attn.qkv_proj.weight", (3 * HIDDEN, HIDDEN)
        yield prefix + "self_attn.o_proj.weight", (HIDDEN, HIDDEN)
        yield prefix + "post_attention_layernorm.weight", (HIDDEN,)
        yield prefix + "mlp.gate_up_proj.weight", (2 * INTERMEDIATE, HIDDEN)
        yield prefix + "mlp.down_proj.weight", (HIDDEN, INTERMEDIATE)
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (VOCABULARY, HIDDEN)


def config(layers):
    half = HIDDEN // HEADS // 2
    return {"architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "vocab_size": VOCABULARY, "hidden_size": HIDDEN,
            "intermediate_size": INTERMEDIATE, "num_hidden_layers": layers, "num_attention_heads": HEADS,
            "num_key_value_heads": HEADS, "hidden_act": "silu", "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
            "max_position_embeddings": 131072, "original_max_position_embeddings": 4096, "sliding_window": 262144,
            "rope_scaling": {"type": "longrope", "short_factor": [1.0] * half, "long_factor": [1.0 + i / 4 for i in range(half)]},
            "tie_word_embeddings": False, "attention_bias": False, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
            "torch_dtype": "bfloat16"}


def split_into_shards(layers):
    shards, size = [[]], 0
    for name, shape in shapes(layers):
        size_bytes = 2 * math.prod(shape)
        if shards[-1] and size + size_bytes > SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append((name, shape, size_bytes))
        size += size_bytes
    return shards


def write_shard(path, tensors, values):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape, size_bytes in tensors:
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size_bytes]}
        at += size_bytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, _, size_bytes in tensors:
            for chunk in values.chunks(size_bytes // 2):
                file.write(to_bytes(chunk, "bf16"))


def make(folder, layers, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    shards, values, weight_map = split_into_shards(layers), Values(seed), {}
    for i, tensors in enumerate(shards, 1):
        name = f"model-{i:05}-of-{len(shards):05}.safetensors"
        write_shard(folder / name, tensors, values)
        weight_map.update({tensor: name for tensor, _, _ in tensors})
    total = sum(size for tensors in shards for _, _, size in tensors)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))
    for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"):
        shutil.copyfile(EXAMPLE / name, folder / name)
    (folder / "config.json").write_text(json.dumps(config(layers), indent=1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path, help="folder to write to")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    make(args.out, args.layers, args.seed)


if __name__ == "__main__":
    main()
