#!/usr/bin/env python3
"""Writes the seed files of the GGUF fuzzer: one feature of the format each, a few kB at most.

usage: make_gguf_corpus.py FOLDER
"""
import pathlib
import struct
import sys

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
U32, F32, TEXT, ARRAY = 4, 6, 8, 9
# ggml_type: values and bytes of a block
TYPES = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84),
         11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 16: (256, 66), 20: (32, 18), 23: (256, 136),
         24: (1, 1), 27: (1, 8), 28: (1, 8), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17)}


def text(value):
    return struct.pack("<Q", len(value.encode())) + value.encode()


def element(kind, value):
    return text(value) if kind == TEXT else struct.pack("<" + SCALARS[kind], value)


def key(name, kind, value):
    return text(name) + struct.pack("<I", kind) + element(kind, value)


def array(name, kind, values):
    return text(name) + struct.pack("<IIQ", ARRAY, kind, len(values)) + b"".join(element(kind, v) for v in values)


def gguf(keys=(), tensors=(), version=3, alignment=32):
    """tensors: name, dimensions (innermost first), ggml_type."""
    infos, data = b"", b""
    for name, dims, kind in tensors:
        infos += text(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims)
        infos += struct.pack("<IQ", kind, len(data))
        n, (values, size) = 1, TYPES[kind]
        for d in dims:
            n *= d
        data += bytes((i * 37 + 11) % 251 for i in range(n // values * size))
        data += bytes(-len(data) % alignment)
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys)) + b"".join(keys) + infos
    return head + bytes(-len(head) % alignment) + data


def decoder(arch, tensors, *more):
    """A model of one layer, two heads of four values, and a vocabulary of three."""
    eps = "layer_norm_epsilon" if arch == "phi2" else "layer_norm_rms_epsilon"
    sizes = {"context_length": 64, "embedding_length": 8, "feed_forward_length": 8, "block_count": 1,
             "attention.head_count": 2, "attention.head_count_kv": 2, "rope.dimension_count": 4}
    keys = [key("general.architecture", TEXT, arch), key(f"{arch}.attention.{eps}", F32, 1e-5)]
    keys += [key(f"{arch}.{name}", U32, value) for name, value in sizes.items()]
    keys += [key("tokenizer.ggml.eos_token_id", U32, 2), key("tokenizer.ggml.bos_token_id", U32, 1),
             array("tokenizer.ggml.tokens", TEXT, ["<unk>", "a", "<|end|>"])]
    return gguf([*keys, *more], tensors)


def phi3(*more_tensors, keys=()):
    return decoder("phi3", [
        ("token_embd.weight", (8, 3), 0), ("output_norm.weight", (8,), 0), ("output.weight", (8, 3), 1),
        ("blk.0.attn_norm.weight", (8,), 0), ("blk.0.ffn_norm.weight", (8,), 0),
        ("blk.0.attn_qkv.weight", (8, 24), 0), ("blk.0.attn_output.weight", (8, 8), 30),
        ("blk.0.ffn_up.weight", (8, 16), 0), ("blk.0.ffn_down.weight", (8, 8), 0), *more_tensors], *keys)


def phi2():
    both = lambda name, dims: [(name + ".weight", dims, 0), (name + ".bias", dims[-1:], 0)]
    return decoder("phi2", [
        ("token_embd.weight", (8, 3), 0), *both("output_norm", (8,)), *both("output", (8, 3)),
        *both("blk.0.attn_norm", (8,)), *both("blk.0.attn_q", (8, 8)), *both("blk.0.attn_k", (8, 8)),
        *both("blk.0.attn_v", (8, 8)), *both("blk.0.attn_output", (8, 8)), *both("blk.0.ffn_up", (8, 8)),
        *both("blk.0.ffn_down", (8, 8))])


def phimoe():
    both = lambda name, dims: [(name + ".weight", dims, 0), (name + ".bias", dims[-1:], 0)]
    return decoder("phimoe", [
        ("token_embd.weight", (8, 3), 0), *both("output_norm", (8,)), *both("output", (8, 3)),
        *both("blk.0.attn_norm", (8,)), *both("blk.0.ffn_norm", (8,)),
        *both("blk.0.attn_q", (8, 8)), *both("blk.0.attn_k", (8, 8)), *both("blk.0.attn_v", (8, 8)),
        *both("blk.0.attn_output", (8, 8)), ("blk.0.ffn_gate_inp.weight", (8, 2), 0),
        ("blk.0.ffn_gate_exps.weight", (8, 8, 2), 0), ("blk.0.ffn_up_exps.weight", (8, 8, 2), 0),
        ("blk.0.ffn_down_exps.weight", (8, 8, 2), 0)],
        key("phimoe.expert_count", U32, 2), key("phimoe.expert_used_count", U32, 2))


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    longrope = (("rope_factors_long.weight", (2,), 0), ("rope_factors_short.weight", (2,), 0))
    seeds = {
        "empty": gguf(),
        "version2": gguf([key("a", U32, 1)], [("w", (4, 2), 0)], version=2),
        "alignment": gguf([key("general.alignment", U32, 64)], [("a", (3,), 0), ("b", (5,), 1)], alignment=64),
        "scalars": gguf([key(f"k{kind}", kind, 1) for kind in SCALARS] + [key("text", TEXT, "h\u00e9")]),
        "arrays": gguf([array(f"a{kind}", kind, [0, 1]) for kind in SCALARS] + [array("t", TEXT, ["a", "", "b"])]),
        "types": gguf((), [(f"t{kind}", (values, 2), kind) for kind, (values, _) in TYPES.items()]),
        "split": gguf([key("split.no", 2, 0), key("split.count", 2, 2), key("split.tensors.count", 5, 2)],
                      [("w", (4,), 0)]),
        "scalar_tensor": gguf((), [("s", (), 0), ("four", (2, 2, 2, 2), 24)]),
        "phi2": phi2(),
        "phi3": phi3(),
        "phi3_longrope": phi3(*longrope, keys=(key("phi3.rope.scaling.original_context_length", U32, 16),
                                               key("phi3.rope.scaling.attn_factor", F32, 1.19))),
        "phimoe": phimoe(),
    }
    for name, data in seeds.items():
        (out / f"{name}.gguf").write_bytes(data)
    print(len(seeds), "files,", sum(len(d) for d in seeds.values()), "bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
