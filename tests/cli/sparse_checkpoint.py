#!/usr/bin/env python3
"""Writes a Phi-3 checkpoint of one layer whose weights are a hole: large to read, nothing on the disk.

    sparse_checkpoint.py SOURCE FOLDER

SOURCE is a small checkpoint, whose config.json is widened and whose tokenizer files are taken.
"""
import json
import math
import pathlib
import struct
import sys

HIDDEN, FFN = 1024, 131072

source, folder = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
folder.mkdir()
config = json.loads((source / "config.json").read_text(encoding="utf-8"))
config.update(hidden_size=HIDDEN, intermediate_size=FFN, num_hidden_layers=1)
(folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "added_tokens.json"):
    (folder / name).write_bytes((source / name).read_bytes())

layer = "model.layers.0."
shapes = {
    "model.embed_tokens.weight": [config["vocab_size"], HIDDEN],
    layer + "input_layernorm.weight": [HIDDEN],
    layer + "self_attn.qkv_proj.weight": [3 * HIDDEN, HIDDEN],
    layer + "self_attn.o_proj.weight": [HIDDEN, HIDDEN],
    layer + "post_attention_layernorm.weight": [HIDDEN],
    layer + "mlp.gate_up_proj.weight": [2 * FFN, HIDDEN],
    layer + "mlp.down_proj.weight": [HIDDEN, FFN],
    "model.norm.weight": [HIDDEN],
    "lm_head.weight": [config["vocab_size"], HIDDEN],
}
header, end = {}, 0
for name, shape in shapes.items():
    begin, end = end, end + 2 * math.prod(shape)
    header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
text = json.dumps(header).encode()
with open(folder / "model.safetensors", "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text)
    file.truncate(8 + len(text) + end)
