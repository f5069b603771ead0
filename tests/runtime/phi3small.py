"""Phi-3-small in numpy, for the tests: a checkpoint folder's logits and greedy tokens. Written from the published model's
definition, without any runtime; test_phi3small.py compares it with mlx-lm's."""
import functools
import json
import pathlib
import struct

import numpy as np

LOWEST = float(np.finfo(np.float32).min)


def read_safetensors(path):
    """Name -> float32 array of a file that holds BF16 and F32."""
    data = pathlib.Path(path).read_bytes()
    size, = struct.unpack("<Q", data[:8])
    out = {}
    for name, entry in json.loads(data[8:8 + size]).items():
        if name == "__metadata__":
            continue
        begin, end = (8 + size + o for o in entry["data_offsets"])
        if entry["dtype"] == "BF16":
            values = (np.frombuffer(data[begin:end], np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            values = np.frombuffer(data[begin:end], {"F32": np.float32}[entry["dtype"]])
        out[name] = values.reshape(entry["shape"])
    return out


def read_folder(folder):
    """config.json and all weights of a checkpoint."""
    folder = pathlib.Path(folder)
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    weights = {}
    for name in sorted(set(index.values())):
        weights |= read_safetensors(folder / name)
    assert set(weights) == set(index)
    return json.loads((folder / "config.json").read_text()), weights


def block_mask(config, head, tokens):
    """[tokens, tokens] of bool: which keys each query of a head sees in a layer with block-sparse attention."""
    block, stride = config["blocksparse_block_size"], config["blocksparse_vert_stride"]
    step = 0 if config["blocksparse_homo_head_pattern"] else max(1, stride // config["num_attention_heads"])
    at = np.arange(tokens) // block
    query, key = at[:, None], at[None, :]
    return (query - key < config["blocksparse_num_local_blocks"]) | ((key + head * step + 1) % stride == 0)


def rotary(config, lengths, dtype):
    """Cosine and sine [tokens, head size / 2]: position i takes the branch, factors and magnitude, that a sequence of
    lengths[i] tokens selects."""
    half = config["hidden_size"] // config["num_attention_heads"] // 2
    lengths = np.asarray(lengths)
    factors, magnitudes = np.ones((len(lengths), half)), np.ones((len(lengths), 1))
    if config.get("rope_scaling"):
        scaling = config["rope_scaling"]
        long = (lengths > scaling["original_max_position_embeddings"])[:, None]
        factors = np.where(long, np.float64(scaling["long_factor"]), np.float64(scaling["short_factor"]))
        magnitudes = np.where(long, scaling["long_mscale"], scaling["short_mscale"])
    inverse = 1 / (factors * float(config["rope_embedding_base"]) ** (np.arange(half) / half))
    angles = np.arange(len(lengths))[:, None] * config["rope_position_scale"] * inverse
    return (np.cos(angles) * magnitudes).astype(dtype), (np.sin(angles) * magnitudes).astype(dtype)


def rotate(x, cos, sin):
    """x [heads, tokens, head size]; component i turns with i + half."""
    a, b = np.split(x, 2, axis=-1)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


class Model:
    """`dense` ignores the block patterns: only for tests that ask whether they matter."""

    def __init__(self, folder, dtype=np.float64, dense=False):
        self.config, weights = read_folder(folder)
        self.weights = {k: v.astype(dtype) for k, v in weights.items()}
        self.dtype, self.dense = dtype, dense
        self.unused = set(self.weights)

    def at(self, name):
        self.unused.discard(name)
        return self.weights[name]

    def linear(self, x, name):
        return x @ self.at(f"{name}.weight").T + self.at(f"{name}.bias")

    def norm(self, x, name):
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = (centred**2).mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt(variance + self.dtype(self.config["layer_norm_epsilon"]))
        return scaled * self.at(f"{name}.weight") + self.at(f"{name}.bias")

    def attention(self, x, layer, lengths):
        c, tokens = self.config, len(x)
        heads, kv_heads = c["num_attention_heads"], c["num_key_value_heads"]
        size, group = c["hidden_size"] // heads, heads // kv_heads
        qkv = self.linear(x, f"model.layers.{layer}.self_attn.query_key_value")
        qkv = qkv.reshape(tokens, kv_heads, group + 2, size).transpose(1, 2, 0, 3)
        cos, sin = rotary(c, lengths, self.dtype)
        scale = c["mup_attn_multiplier"] / size if c["mup_use_scaling"] else 1 / np.sqrt(size)
        sparse = not self.dense and (layer + 1) % c["dense_attention_every_n_layers"] != 0
        causal = np.tril(np.ones((tokens, tokens), bool))
        out = np.empty((tokens, heads, size), self.dtype)
        for head in range(heads):
            of_key = qkv[head // group]
            query, key = (rotate(of_key[i], cos, sin) for i in (head % group, group))
            seen = causal & block_mask(c, head, tokens) if sparse else causal
            scores = np.where(seen, query @ key.T * self.dtype(scale), -np.inf)
            out[:, head] = softmax(scores) @ of_key[group + 1]
        return self.linear(out.reshape(tokens, -1), f"model.layers.{layer}.self_attn.dense")

    def mlp(self, x, layer):
        limit = self.config["gegelu_limit"]
        up = self.linear(x, f"model.layers.{layer}.mlp.up_proj")
        gate, line = np.minimum(up[:, ::2], limit), np.clip(up[:, 1::2], -limit, limit)
        active = gate / (1 + np.exp(self.dtype(-1.702) * gate))
        return self.linear(active * (line + 1), f"model.layers.{layer}.mlp.down_proj")

    def logits(self, ids, prompt=None, last=False):
        """Logits [tokens, vocabulary] of a sequence, or only those of its last token. With `prompt`, tokens after the first
        `prompt` ones come one at a time and keys stay as they were cached: each then has the rotation of its own time."""
        c, table = self.config, self.at("model.embed_tokens.weight")
        prompt = prompt or len(ids)
        lengths = [max(prompt, i + 1) for i in range(len(ids))]
        x = table[np.asarray(ids)] * self.dtype(c["mup_embedding_multiplier"])
        for i in range(c["num_hidden_layers"]):
            x = x + self.attention(self.norm(x, f"model.layers.{i}.input_layernorm"), i, lengths)
            x = x + self.mlp(self.norm(x, f"model.layers.{i}.post_attention_layernorm"), i)
        x = self.norm(x, "model.final_layernorm")
        out = (x[-1:] if last else x) @ table.T / self.dtype(c["mup_width_multiplier"])
        out[:, dummy_tokens(c["vocab_size"])] = LOWEST
        return out

    def greedy(self, ids, tokens):
        """The next tokens as a runtime with a cache chooses them, and for each how far its logit lies above the second."""
        out, gaps = list(ids), []
        for _ in range(tokens):
            row = self.logits(out, prompt=len(ids), last=True)[0]
            second, first = np.partition(row, -2)[-2:]
            out.append(int(row.argmax()))
            gaps.append(float(first - second))
        return out[len(ids):], gaps


@functools.lru_cache(maxsize=None)
def dummy_tokens(vocabulary):
    """Ids that the tokenizer leaves unused; the model gives each the lowest float as logit."""
    return [100256, 100258, 100259, 100260, 100264, 100265, *range(100267, vocabulary)]
