#!/usr/bin/env python3
"""Tokenizes the example's evaluation text into tests/data/eval_ids.npy, so that tests need no tokenizer.

    make_eval_ids.py [CHECKPOINT] [OUT]     needs: pip install tokenizers numpy
"""
import pathlib
import sys

import numpy as np
from tokenizers import Tokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]


def main(checkpoint=ROOT / "examples/phi3-tiny", out=ROOT / "tests/data/eval_ids.npy"):
    checkpoint = pathlib.Path(checkpoint)
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    ids = tokenizer.encode((checkpoint / "eval.txt").read_text(), add_special_tokens=False).ids
    np.save(out, np.array(ids, np.uint16))
    print(f"{out}: {len(ids)} tokens")


if __name__ == "__main__":
    main(*sys.argv[1:])
