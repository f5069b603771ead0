"""The models that the net converts: those of the tree, and variants of them that the tree does not hold."""
import json
import pathlib
import random
import shutil
import struct

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Name among the inputs -> what is copied. Copies, because paths then look the same wherever the tree lies.
BUNDLED = {
    "phi3-tiny": "examples/phi3-tiny",
    "phi2-tiny": "tests/data/checkpoints/phi2-tiny",
    "phi3-4k-tiny": "tests/data/checkpoints/phi3-4k-tiny",
    "phi4-tiny": "tests/data/checkpoints/phi4-tiny",
    "phimoe-tiny": "tests/data/checkpoints/phimoe-tiny",
    "phi3-tiny-onnx": "examples/phi3-tiny-onnx",
    "phi3-tiny-bf16w": "tests/data/phi3-tiny-bf16w",
    "models": "tests/data/models",
    "imatrix.gguf": "tests/data/gguf/phi3-tiny-imatrix.gguf",
}


def edit_config(folder, edit):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    edit(config)
    path.write_text(json.dumps(config, indent=2) + "\n")


def read_safetensors(path):
    raw = path.read_bytes()
    n = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + n])
    return header, {k: raw[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]]
                    for k, v in header.items() if k != "__metadata__"}


def write_safetensors(path, header, data):
    out, offset = {"__metadata__": header.get("__metadata__", {"format": "pt"})}, 0
    for name, raw in data.items():
        out[name] = {**header[name], "data_offsets": [offset, offset + len(raw)]}
        offset += len(raw)
    text = json.dumps(out, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data.values()))


def widened(bf16):
    """bfloat16 -> float32: the same upper half."""
    out = bytearray(2 * len(bf16))
    out[2::4], out[3::4] = bf16[0::2], bf16[1::2]
    return bytes(out)


def halved(bf16):
    """bfloat16 -> float16, of values that float16 can hold."""
    n = len(bf16) // 2
    return struct.pack(f"<{n}e", *struct.unpack(f"<{n}f", widened(bf16)))


def store_as(folder, dtype):
    """Stores the weights of a bfloat16 checkpoint as F32 or F16."""
    convert = {"F32": widened, "F16": halved}[dtype]
    for path in sorted(folder.glob("*.safetensors")):
        header, data = read_safetensors(path)
        for name in data:
            header[name]["dtype"] = dtype
        write_safetensors(path, header, {k: convert(v) for k, v in data.items()})
    edit_config(folder, lambda c: c.update(torch_dtype={"F32": "float32", "F16": "float16"}[dtype]))


def poison(folder, tensor, bits):
    """Puts a bfloat16 with these bits into the middle of a weight."""
    for path in sorted(folder.glob("*.safetensors")):
        header, data = read_safetensors(path)
        if tensor in data:
            middle = len(data[tensor]) // 4 * 2
            data[tensor] = data[tensor][:middle] + struct.pack("<H", bits) + data[tensor][middle + 2:]
            write_safetensors(path, header, data)


def set_architecture(name, model_type=None):
    def edit(config):
        config["architectures"] = [name]
        if model_type:
            config["model_type"] = model_type
    return lambda folder: edit_config(folder, edit)


def drop(key):
    return lambda folder: edit_config(folder, lambda c: c.pop(key))


DOWN = "model.layers.1.mlp.down_proj.weight"
# Name -> the checkpoint it is made of, and the change.
VARIANTS = {
    "phi2-untyped": ("phi2-tiny", drop("model_type")),
    "phi3-untyped": ("phi3-4k-tiny", drop("model_type")),
    "phi4-untyped": ("phi4-tiny", drop("model_type")),
    "phimoe-untyped": ("phimoe-tiny", drop("model_type")),
    "phi3-unnamed": ("phi3-4k-tiny", drop("architectures")),
    "phi3-vision": ("phi3-4k-tiny", set_architecture("Phi3VForCausalLM", "phi3_v")),
    "phi3-vision-phi3": ("phi3-4k-tiny", set_architecture("Phi3VForCausalLM")),
    "phi4-multimodal": ("phi4-tiny", set_architecture("Phi4MultimodalForCausalLM", "phi4_multimodal")),
    "phi4-multimodal-phi3": ("phi4-tiny", set_architecture("Phi4MultimodalForCausalLM")),
    "phi4-mm": ("phi4-tiny", set_architecture("Phi4MMForCausalLM", "phi4mm")),
    "phimoe-new": ("phimoe-tiny", set_architecture("PhimoeForCausalLM")),
    "unknown": ("phi3-4k-tiny", set_architecture("LlamaForCausalLM", "llama")),
    "flash": ("phi3-4k-tiny", set_architecture("Phi4FlashForCausalLM", "phi4flash")),
    "phi3-nan": ("phi3-4k-tiny", lambda folder: poison(folder, DOWN, 0x7FC0)),
    "phi3-inf": ("phi3-4k-tiny", lambda folder: poison(folder, "lm_head.weight", 0x7F80)),
    "phi3-large": ("phi3-4k-tiny", lambda folder: poison(folder, DOWN, 0x4800)),  # 131072: over float16's largest
    "phi3-f32": ("phi3-4k-tiny", lambda folder: store_as(folder, "F32")),
    "phi3-f16": ("phi3-4k-tiny", lambda folder: store_as(folder, "F16")),
    "phi4-f32": ("phi4-tiny", lambda folder: store_as(folder, "F32")),
}


def imatrix(gguf_json, path):
    """Importance of the columns of a checkpoint's GGUF tensors, in llama-imatrix' older format."""
    files = json.loads(gguf_json.read_text())["files"]
    shapes = {name: row[1] for file in files.values() for name, row in file["tensors"].items()}
    source, out = random.Random(1), []
    for name, shape in sorted(shapes.items()):
        if name.startswith("blk.") and name.endswith(".weight") and len(shape) > 1:
            n = shape[0] * (shape[2] if len(shape) > 2 else 1)  # each expert has its own
            raw = name.encode()
            values = [source.random() + 0.01 for _ in range(n)]
            out.append(struct.pack(f"<i{len(raw)}sii{n}f", len(raw), raw, 2, n, *values))
    path.write_bytes(struct.pack("<i", len(out)) + b"".join(out))


def phi3small(folder, longrope):
    """A Phi-3-small of random weights, as tests/data/checkpoints/make_phi3small.py makes one."""
    hidden, layers, head, rows, ffn = 64, 4, 16, 128, 96
    vocab = 1024 if longrope else 100352  # mlx_lm wants the real one, and has no long rope
    config = {
        "architectures": ["Phi3SmallForCausalLM"], "model_type": "phi3small", "attention_bias": False,
        "blocksparse_block_size": 32, "blocksparse_homo_head_pattern": False, "blocksparse_num_local_blocks": 2,
        "blocksparse_vert_stride": 8 if longrope else 3, "dense_attention_every_n_layers": 2, "bos_token_id": 1,
        "eos_token_id": 2, "ff_intermediate_size": ffn, "gegelu_limit": 4.0, "hidden_act": "gegelu",
        "hidden_size": hidden, "layer_norm_epsilon": 1e-3, "max_position_embeddings": 512, "mup_attn_multiplier": 1.5,
        "mup_embedding_multiplier": 12.0, "mup_use_scaling": True, "mup_width_multiplier": 4.0,
        "num_attention_heads": hidden // head, "num_hidden_layers": layers, "num_key_value_heads": 2,
        "rope_embedding_base": 50000, "rope_position_scale": 1.0, "torch_dtype": "bfloat16", "vocab_size": vocab}
    if longrope:
        config["original_max_position_embeddings"] = 256
        config["rope_scaling"] = {
            "long_factor": [1.0, 1.25, 1.75, 2.5, 4.0, 6.5, 11.0, 16.0], "long_mscale": 1.125,
            "short_factor": [1.0, 1.0625, 1.125, 1.1875, 1.25, 1.5, 1.75, 2.0], "short_mscale": 1.0625,
            "original_max_position_embeddings": 256, "type": "su"}
    shapes = {"model.embed_tokens.weight": [vocab, hidden]}
    for i in range(layers):
        layer = f"model.layers.{i}."
        for name, shape in (("self_attn.query_key_value", [rows, hidden]), ("self_attn.dense", [hidden, hidden]),
                            ("mlp.up_proj", [2 * ffn, hidden]), ("mlp.down_proj", [hidden, ffn])):
            shapes |= {layer + name + ".weight": shape, layer + name + ".bias": shape[:1]}
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes |= {layer + norm + ".weight": [hidden], layer + norm + ".bias": [hidden]}
    shapes |= {"model.final_layernorm.weight": [hidden], "model.final_layernorm.bias": [hidden]}
    source = random.Random(3)
    # Upper bytes of bfloat16: either sign, exponents of 2^-7 to 2^-1.
    upper = bytes(b & 0x80 | (0x3C + (b & 0x7F) % 3) for b in range(256))
    data = {}
    for name, shape in shapes.items():
        n = shape[0] * (shape[1] if len(shape) > 1 else 1)
        raw = bytearray(source.randbytes(2 * n))
        raw[1::2] = raw[1::2].translate(upper)
        data[name] = bytes(raw)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "generation_config.json").write_text('{"bos_token_id": 1, "eos_token_id": [2], "pad_token_id": 1}\n')
    write_safetensors(folder / "model.safetensors",
                      {k: {"dtype": "BF16", "shape": v} for k, v in shapes.items()}, data)


def make(folder):
    """Fills `folder`, which must not exist."""
    folder.mkdir()
    for name, path in BUNDLED.items():
        source = ROOT / path
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("*.npz", "*.txt"))
        else:
            shutil.copy(source, folder / name)
    shutil.copy(ROOT / "tests/data/gguf/phi3-tiny.json", folder / "some.json")
    (folder / "imatrix").mkdir()
    for name in ("phi2-tiny", "phi3-4k-tiny", "phi4-tiny", "phimoe-tiny"):
        imatrix(ROOT / f"tests/data/gguf/{name}.json", folder / f"imatrix/{name}.dat")
    for name, (base, change) in VARIANTS.items():
        shutil.copytree(folder / base, folder / name)
        change(folder / name)
    phi3small(folder / "phi3small", False)
    phi3small(folder / "phi3small-128k", True)
