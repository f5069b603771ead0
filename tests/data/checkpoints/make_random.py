#!/usr/bin/env python3
"""Makes the checkpoints with random weights: phi2-tiny, phi3-4k-tiny, phimoe-tiny. For the tests: they write no text.

    make_random.py OUT      needs torch 2.15.0, safetensors and tokenizers

Seeded normal weights, a few input channels several times as loud as the others, as trained models have them.
Vocabularies are those of the trained checkpoints, examples/phi3-tiny and phi4-tiny. The same bytes each time.
make_logits.py adds logits.npz.
"""
import json
import pathlib
import shutil
import sys

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

HERE = pathlib.Path(__file__).resolve().parent
PHI3, PHI4 = HERE.parents[2] / "examples/phi3-tiny", HERE / "phi4-tiny"
VOCAB, END = 2048, 2000      # <|endoftext|>; above it the other special tokens
HIDDEN, LAYERS, HEADS = 128, 2, 4
HEAD = HIDDEN // HEADS


def write(path, content):
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def weights(shapes, seed):
    """Name -> float32 tensor. Norms are near one and louder in the loud channels, biases small."""
    generator = torch.Generator().manual_seed(seed)
    loud = torch.randperm(HIDDEN, generator=generator)[:3]
    out = {}
    for name, shape in shapes.items():
        value = torch.randn(shape, generator=generator)
        if name.endswith("bias"):
            value = value * 0.01
        elif len(shape) == 1:
            value = 1.0 + value * 0.05
            if shape[0] == HIDDEN:
                value[loud] *= 3.0
        else:
            value = value * 0.02
            if shape[-1] == HIDDEN and "embed" not in name:
                value[:, loud] *= 8.0
        out[name] = value
    return out


def save(folder, config, generation, shapes, seed, dtype=torch.bfloat16):
    """Config and two shards, split where half of the bytes are reached, in the model's order."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "config.json", config)
    write(folder / "generation_config.json", generation)
    tensors = {name: value.to(dtype) for name, value in weights(shapes, seed).items()}
    total, before = sum(t.nbytes for t in tensors.values()), 0
    shards, where = [{}, {}], {}
    for name, tensor in tensors.items():
        shard = min(1, before * 2 // total)
        before += tensor.nbytes
        shards[shard][name] = tensor
        where[name] = f"model-0000{shard + 1}-of-00002.safetensors"
    for i, shard in enumerate(shards):
        save_file(shard, str(folder / f"model-0000{i + 1}-of-00002.safetensors"), metadata={"format": "pt"})
    write(folder / "model.safetensors.index.json", {"metadata": {"total_size": total},
                                                    "weight_map": dict(sorted(where.items()))})


def generation(begin, end, pad, version):
    return {"_from_model_config": True, "bos_token_id": begin, "eos_token_id": end, "pad_token_id": pad,
            "transformers_version": version}


def phi3_vocabulary(folder, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.model", "tokenizer.json", "special_tokens_map.json", "added_tokens.json"):
        shutil.copy(PHI3 / name, folder / name)
    write(folder / "tokenizer_config.json", json.loads((PHI3 / "tokenizer_config.json").read_text()) | changes)


def phi3_4k(folder):
    """Phi-3-mini-4k: plain rotary embedding, fused projections."""
    phi3_vocabulary(folder, model_max_length=4096)
    ffn = 256
    config = json.loads((PHI3 / "config.json").read_text()) | {
        "_name_or_path": "Phi-3-mini-4k-instruct", "hidden_size": HIDDEN, "intermediate_size": ffn,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": HEADS, "max_position_embeddings": 4096,
        "original_max_position_embeddings": 4096, "rope_scaling": None, "sliding_window": 2047,
        "transformers_version": "4.40.2"}
    shapes = {"model.embed_tokens.weight": (VOCAB, HIDDEN)}
    for i in range(LAYERS):
        layer = f"model.layers.{i}."
        shapes |= {layer + "input_layernorm.weight": (HIDDEN,), layer + "mlp.down_proj.weight": (HIDDEN, ffn),
                   layer + "mlp.gate_up_proj.weight": (2 * ffn, HIDDEN),
                   layer + "post_attention_layernorm.weight": (HIDDEN,),
                   layer + "self_attn.o_proj.weight": (HIDDEN, HIDDEN),
                   layer + "self_attn.qkv_proj.weight": (3 * HIDDEN, HIDDEN)}
    shapes |= {"model.norm.weight": (HIDDEN,), "lm_head.weight": (VOCAB, HIDDEN)}
    save(folder, config, generation(1, [END, END + 1, END + 7], END, "4.40.2"), shapes, 101)


def phi2_vocabulary(folder):
    """phi4-tiny's vocabulary behind GPT-2's way to split a text; runs of spaces are tokens, as in CodeGen's."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(PHI4 / name, folder / name)
    tokenizer = Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    end, added = "<|endoftext|>", {}
    for text in [end, *(" " * n for n in range(31, 1, -1))]:
        special = text == end
        add = tokenizer.add_special_tokens if special else tokenizer.add_tokens
        add([AddedToken(text, special=special, normalized=not special)])
        added[tokenizer.token_to_id(text)] = {"content": text, "lstrip": False, "normalized": not special,
                                              "rstrip": False,
                                              "single_word": False, "special": special}
    tokenizer.save(str(folder / "tokenizer.json"))
    write(folder / "added_tokens.json", {t["content"]: i for i, t in added.items() if i > END})
    write(folder / "special_tokens_map.json", {k: end for k in ("bos_token", "eos_token", "unk_token")})
    write(folder / "tokenizer_config.json", {
        "add_prefix_space": False, "added_tokens_decoder": {str(i): t for i, t in added.items()}, "bos_token": end,
        "clean_up_tokenization_spaces": True, "eos_token": end, "model_max_length": 2048,
        "tokenizer_class": "CodeGenTokenizer",
        "unk_token": end})


def phi2(folder):
    """Phi-2: LayerNorm, biases, attention and MLP side by side, half of each head rotated; float16."""
    phi2_vocabulary(folder)
    config = {
        "_name_or_path": "microsoft/phi-2", "architectures": ["PhiForCausalLM"], "attention_dropout": 0.0,
        "bos_token_id": END,
        "embd_pdrop": 0.0, "eos_token_id": END, "hidden_act": "gelu_new", "hidden_size": HIDDEN,
        "initializer_range": 0.02,
        "intermediate_size": 4 * HIDDEN, "layer_norm_eps": 1e-05, "max_position_embeddings": 2048, "model_type": "phi",
        "num_attention_heads": HEADS, "num_hidden_layers": LAYERS, "num_key_value_heads": HEADS,
        "partial_rotary_factor": 0.5,
        "qk_layernorm": False, "resid_pdrop": 0.1, "rope_scaling": None, "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "float16", "transformers_version": "4.37.0", "use_cache": True, "vocab_size": VOCAB}
    shapes = {"model.embed_tokens.weight": (VOCAB, HIDDEN)}
    linear = {"self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (HIDDEN, HIDDEN), "self_attn.v_proj": (HIDDEN,
                                                                                                               HIDDEN),
              "self_attn.dense": (HIDDEN, HIDDEN), "mlp.fc1": (4 * HIDDEN, HIDDEN), "mlp.fc2": (HIDDEN, 4 * HIDDEN)}
    for i in range(LAYERS):
        for name, shape in [*linear.items(), ("input_layernorm", (HIDDEN,))]:
            shapes |= {f"model.layers.{i}.{name}.weight": shape, f"model.layers.{i}.{name}.bias": shape[:1]}
    shapes |= {"model.final_layernorm.weight": (HIDDEN,), "model.final_layernorm.bias": (HIDDEN,),
               "lm_head.weight": (VOCAB, HIDDEN), "lm_head.bias": (VOCAB,)}
    save(folder, config, generation(END, END, END, "4.37.0"), shapes, 102, torch.float16)


def phimoe(folder):
    """Phi-3.5-MoE: 4 experts of which a token takes 2, LayerNorm, biases, two key heads for four query heads."""
    phi3_vocabulary(folder)
    ffn, kv, experts, half = 192, 2 * HEAD, 4, HEAD // 2
    mscale = 1.243163121016122
    config = {
        "_name_or_path": "Phi-3.5-MoE-instruct", "architectures": ["PhiMoEForCausalLM"], "attention_bias": True,
        "attention_dropout": 0.0,
        "auto_map": {"AutoConfig": "configuration_phimoe.PhiMoEConfig",
                     "AutoModelForCausalLM": "modeling_phimoe.PhiMoEForCausalLM"},
        "bos_token_id": 1, "eos_token_id": END, "hidden_act": "silu", "hidden_dropout": 0.0, "hidden_size": HIDDEN,
        "initializer_range": 0.02, "input_jitter_noise": 0.01, "intermediate_size": ffn, "lm_head_bias": True,
        "max_position_embeddings": 16384, "model_type": "phimoe", "num_attention_heads": HEADS,
        "num_experts_per_tok": 2,
        "num_hidden_layers": LAYERS, "num_key_value_heads": 2, "num_local_experts": experts,
        "original_max_position_embeddings": 512, "output_router_logits": False, "rms_norm_eps": 1e-05,
        "rope_scaling": {"long_factor": [round(1.0 + 20.0 * (i / (half - 1)) ** 1.5, 4) for i in range(half)],
                         "short_factor": [round(1.0 + 0.05 * i, 4) for i in range(half)], "type": "longrope",
                         "long_mscale": mscale, "short_mscale": mscale, "original_max_position_embeddings": 512},
        "rope_theta": 10000.0, "router_aux_loss_coef": 0.0, "router_jitter_noise": 0.01, "sliding_window": 16384,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", "transformers_version": "4.43.3", "use_cache": True,
        "vocab_size": VOCAB}
    shapes = {"model.embed_tokens.weight": (VOCAB, HIDDEN)}
    for i in range(LAYERS):
        layer = f"model.layers.{i}."
        for name, rows in (("q", HIDDEN), ("k", kv), ("v", kv), ("o", HIDDEN)):
            shapes |= {f"{layer}self_attn.{name}_proj.weight": (rows, HIDDEN),
                       f"{layer}self_attn.{name}_proj.bias": (rows,)}
        shapes[layer + "block_sparse_moe.gate.weight"] = (experts, HIDDEN)
        for e in range(experts):
            expert = f"{layer}block_sparse_moe.experts.{e}."
            shapes |= {expert + "w1.weight": (ffn, HIDDEN), expert + "w2.weight": (HIDDEN, ffn),
                       expert + "w3.weight": (ffn, HIDDEN)}
        for name in ("input_layernorm", "post_attention_layernorm"):
            shapes |= {f"{layer}{name}.weight": (HIDDEN,), f"{layer}{name}.bias": (HIDDEN,)}
    shapes |= {"model.norm.weight": (HIDDEN,), "model.norm.bias": (HIDDEN,), "lm_head.weight": (VOCAB, HIDDEN),
               "lm_head.bias": (VOCAB,)}
    save(folder, config, generation(1, [END, END + 1, END + 7], END, "4.43.3"), shapes, 103)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = pathlib.Path(sys.argv[1])
    phi2(out / "phi2-tiny")
    phi3_4k(out / "phi3-4k-tiny")
    phimoe(out / "phimoe-tiny")
