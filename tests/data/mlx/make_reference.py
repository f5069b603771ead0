#!/usr/bin/env python3
"""Makes the folder that make_hashes.py reads: what mlx_lm.convert makes of the bundled checkpoints, on the CPU.

    make_reference.py REFERENCE      needs mlx 0.32.4 and mlx-lm 0.32.2, the versions of tests/requirements.txt

Per checkpoint and option a folder with config.json and tensors.json (../describe.py), and for all of them greedy.json:
the 32 tokens that mlx_lm prefers after a prompt.
"""
import json
import os
import pathlib
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
import mlx.core as mx  # noqa: E402
import numpy as np  # noqa: E402
from mlx_lm.convert import convert  # noqa: E402
from mlx_lm.generate import generate_step  # noqa: E402
from mlx_lm.utils import load  # noqa: E402

DATA = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(DATA), str(DATA.parent / "runtime")]
import describe  # noqa: E402
import genai_graph  # noqa: E402

# Folder -> arguments of mlx_lm.convert; phi3-tiny and phi4-tiny get all, the others the first two.
OPTIONS = {
    "q4-g64": {"quantize": True, "q_bits": 4, "q_group_size": 64},
    "q4-g32": {"quantize": True, "q_bits": 4, "q_group_size": 32},
    "q8-g64": {"quantize": True, "q_bits": 8, "q_group_size": 64},
    "mxfp4": {"quantize": True, "q_mode": "mxfp4"},
    "mixed_4_6": {"quantize": True, "quant_predicate": "mixed_4_6"},
    "fp16": {"dtype": "float16"},
}
CHECKPOINTS = {"phi2-tiny": 2, "phi3-4k-tiny": 2, "phi3-tiny": 6, "phi4-tiny": 6, "phimoe-tiny": 2}
PROMPT, TOKENS = "And it came to pass", 32
# Of the random checkpoints only these continue a text.
GREEDY = ("phi2-tiny-q4-g64", "phimoe-tiny-q4-g64")


def greedy(folder):
    model, tokenizer = load(str(folder))
    ids = tokenizer.encode(PROMPT)
    steps = generate_step(mx.array(np.array(ids)), model, max_tokens=TOKENS)
    tokens = [int(token) for token, _ in steps]
    return {"prompt": PROMPT, "prompt_ids": ids, "greedy": tokens, "text": tokenizer.decode(tokens)}


def main():
    reference = pathlib.Path(sys.argv[1])
    mx.set_default_device(mx.cpu)
    continued = {}
    for checkpoint, count in CHECKPOINTS.items():
        for option, arguments in list(OPTIONS.items())[:count]:
            name, out = f"{checkpoint}-{option}", reference / checkpoint / option
            with tempfile.TemporaryDirectory() as scratch:
                folder = pathlib.Path(scratch) / "out"
                convert(str(genai_graph.checkpoint(checkpoint)), str(folder), **arguments)
                out.mkdir(parents=True, exist_ok=True)
                (out / "config.json").write_bytes((folder / "config.json").read_bytes())
                (out / "tensors.json").write_text(json.dumps(describe.describe(folder), indent=1) + "\n")
                if count > 2 or name in GREEDY:
                    continued[name] = greedy(folder)
            print(name, flush=True)
    (reference / "greedy.json").write_text(json.dumps(continued, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main()
