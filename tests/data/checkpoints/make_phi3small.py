#!/usr/bin/env python3
"""Makes a tiny Phi-3-small checkpoint with random weights (needs numpy only). For the tests: no text comes out of it.

    make_phi3small.py FOLDER [--longrope] [--homo-heads] [--dtype bf16|f32] [--seed N]

The vocabulary has its real size, so that the ids of the dummy tokens are real ones; all else is small. Weights are drawn so
that mistakes show: attention is sharp, each of gegelu's limits cuts about a sixth of the values off, no bias or multiplier is
neutral, and the rows of dummy tokens would win each argmax if they were not masked. The values are bfloat16's with either
--dtype, so both checkpoints are the same model. The same bytes each time.
"""
import argparse
import json
import pathlib
import struct

import numpy as np

VOCAB, HIDDEN, LAYERS, HEADS, KV_HEADS, FFN = 100352, 64, 4, 4, 2, 96
HEAD = HIDDEN // HEADS
CONTEXT, ORIGINAL_CONTEXT = 512, 256
GEGELU_LIMIT = 4.0
# Ids that the real tokenizer leaves unused; modelling code masks their logits.
DUMMY_TOKENS = [100256, 100258, 100259, 100260, 100264, 100265, *range(100267, VOCAB)]


def config(longrope=False, homo_heads=False, dtype="bf16"):
    """config.json with the fields of the published models, in their order."""
    c = {
        "architectures": ["Phi3SmallForCausalLM"],
        "attention_dropout_prob": 0.0,
        "auto_map": {
            "AutoConfig": "configuration_phi3_small.Phi3SmallConfig",
            "AutoModelForCausalLM": "modeling_phi3_small.Phi3SmallForCausalLM",
            "AutoTokenizer": "tokenization_phi3_small.Phi3SmallTokenizer",
        },
        "blocksparse_block_size": 32,
        "blocksparse_homo_head_pattern": homo_heads,
        "blocksparse_num_local_blocks": 2,
        "blocksparse_triton_kernel_block_size": 64,
        # A stride of at least twice the number of heads moves the pattern by more than one block from head to head.
        "blocksparse_vert_stride": 8 if longrope else 3,
        "bos_token_id": 100257,
        "dense_attention_every_n_layers": 2,
        "embedding_dropout_prob": 0.1,
        "eos_token_id": 100257,
        "ff_dim_multiplier": None,
        "ff_intermediate_size": FFN,
        "ffn_dropout_prob": 0.1,
        "gegelu_limit": GEGELU_LIMIT,
        "gegelu_pad_to_256": True,
        "hidden_act": "gegelu",
        "hidden_size": HIDDEN,
        "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-3,
        "max_position_embeddings": CONTEXT,
        "model_type": "phi3small",
        "mup_attn_multiplier": 1.5,
        "mup_embedding_multiplier": 12.0,
        "mup_use_scaling": True,
        "mup_width_multiplier": 4.0,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": KV_HEADS,
        "pad_sequence_to_multiple_of_64": True,
        "reorder_and_upcast_attn": False,
        "rope_embedding_base": 50000,
        "rope_position_scale": 1.0,
        "torch_dtype": {"bf16": "bfloat16", "f32": "float32"}[dtype],
        "transformers_version": "4.38.1",
        "use_cache": True,
        "attention_bias": False,
        "vocab_size": VOCAB,
    }
    if longrope:
        c["original_max_position_embeddings"] = ORIGINAL_CONTEXT
        c["rope_scaling"] = {
            "long_factor": [1.0, 1.25, 1.75, 2.5, 4.0, 6.5, 11.0, 16.0],
            "long_mscale": 1.125,
            "original_max_position_embeddings": ORIGINAL_CONTEXT,
            "short_factor": [1.0, 1.0625, 1.125, 1.1875, 1.25, 1.5, 1.75, 2.0],
            "short_mscale": 1.0625,
            "type": "su",
        }
    return c


def to_bf16(values):
    """float32 -> the bits of the nearest bfloat16, ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def tensors(seed):
    """Name -> float32 weights of the whole model."""
    random = np.random.default_rng(seed)

    def normal(deviation, *shape):
        return random.normal(0, deviation, shape).astype(np.float32)

    def norm(name):
        return {f"{name}.weight": 1 + normal(0.2, HIDDEN), f"{name}.bias": normal(0.2, HIDDEN)}

    embedding = normal(0.02, VOCAB, HIDDEN)
    embedding[DUMMY_TOKENS] *= 4
    out = {"model.embed_tokens.weight": embedding}
    for i in range(LAYERS):
        layer = f"model.layers.{i}"
        # Rows of a key head: its queries, its key, its value. A norm's output has a length of about 8.
        qkv = normal(1, KV_HEADS, HEADS // KV_HEADS + 2, HEAD, HIDDEN)
        qkv[:, :-1] *= 0.35
        qkv[:, -1] *= 0.2
        out |= {f"{layer}.self_attn.query_key_value.weight": qkv.reshape(-1, HIDDEN),
                f"{layer}.self_attn.query_key_value.bias": normal(0.5, qkv.size // HIDDEN),
                f"{layer}.self_attn.dense.weight": normal(0.1, HIDDEN, HIDDEN),
                f"{layer}.self_attn.dense.bias": normal(0.2, HIDDEN),
                f"{layer}.mlp.up_proj.weight": normal(0.5, 2 * FFN, HIDDEN),
                f"{layer}.mlp.up_proj.bias": normal(0.5, 2 * FFN),
                f"{layer}.mlp.down_proj.weight": normal(0.015, HIDDEN, FFN),
                f"{layer}.mlp.down_proj.bias": normal(0.2, HIDDEN)}
        out |= norm(f"{layer}.input_layernorm") | norm(f"{layer}.post_attention_layernorm")
    # Weights of both signs, or each token would predict itself: the output matrix is the embedding.
    out |= {"model.final_layernorm.weight": normal(4, HIDDEN), "model.final_layernorm.bias": normal(0.5, HIDDEN)}
    return out


def safetensors(weights, dtype):
    """The bytes of one safetensors file."""
    header, data = {"__metadata__": {"format": "pt"}}, bytearray()
    for name, values in weights.items():
        bits = to_bf16(values)
        raw = bits if dtype == "bf16" else (bits.astype(np.uint32) << 16)
        begin = len(data)
        data += raw.tobytes()
        header[name] = {"dtype": {"bf16": "BF16", "f32": "F32"}[dtype], "shape": list(values.shape),
                        "data_offsets": [begin, len(data)]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + bytes(data)


def make(folder, longrope=False, homo_heads=False, dtype="bf16", seed=3):
    """Writes config, generation config and two shards with their index into `folder`, which may exist."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = tensors(seed)
    half = {name: not name.startswith(("model.embed", "model.layers.0.")) for name in weights}
    names = [f"model-{i + 1:05}-of-00002.safetensors" for i in range(2)]
    for i, name in enumerate(names):
        (folder / name).write_bytes(safetensors({k: v for k, v in weights.items() if half[k] == i}, dtype))
    size = sum(v.size for v in weights.values()) * {"bf16": 2, "f32": 4}[dtype]
    files = {
        "config.json": config(longrope, homo_heads, dtype),
        "generation_config.json": {"_from_model_config": True, "bos_token_id": 100257, "eos_token_id": [100257, 100266],
                                   "pad_token_id": 100257, "transformers_version": "4.38.1"},
        "model.safetensors.index.json": {"metadata": {"total_size": size},
                                         "weight_map": {k: names[half[k]] for k in sorted(weights)}},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--longrope", action="store_true", help="rotary factors as in the 128k model")
    parser.add_argument("--homo-heads", action="store_true", help="one block pattern for all heads")
    parser.add_argument("--dtype", choices=("bf16", "f32"), default="bf16")
    parser.add_argument("--seed", type=int, default=3)
    args = parser.parse_args()
    print(make(args.folder, args.longrope, args.homo_heads, args.dtype, args.seed))


if __name__ == "__main__":
    main()
