#!/usr/bin/env python3
"""Makes logits.npz of a checkpoint: what transformers computes in float32.

    make_logits.py CHECKPOINT [OUT]      needs torch 2.15.0 and transformers 5.23.0; OUT: another folder than CHECKPOINT

  short_ids, short_logits      the first 48 tokens of the evaluation text, logits of all
  long_ids, long_logits        its first 700 tokens, beyond the original context; logits of the last 32
  short_greedy, long_greedy    the 64 and 32 tokens that the model prefers after them

transformers never takes the long rotary factors of Phi-3.5-MoE, which the model's own code takes beyond the original
context. For its long part they stand where the short ones are looked up. Its recorded long_logits were computed by the
same arithmetic written out without transformers: they are within 3e-6 of these. All else has come out the same to the
last bit, though float sums may depend on the processor.
"""
import copy
import os
import pathlib
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
import numpy as np  # noqa: E402
import torch  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM  # noqa: E402

TEXT = pathlib.Path(__file__).resolve().parents[3] / "examples/phi3-tiny/eval.txt"
PARTS = {"short": (48, 48, 64), "long": (700, 32, 32)}   # tokens, logits kept, tokens generated


def load(folder, part):
    config = AutoConfig.from_pretrained(folder)
    if part == "long" and config.model_type == "phimoe":
        rope = config.rope_parameters
        # An original context that is never passed: the short branch for every length.
        rope["short_factor"], rope["short_mscale"] = copy.copy(rope["long_factor"]), rope["long_mscale"]
    return AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32,
                                                attn_implementation="eager").eval()


def main(folder, out=None):
    folder = pathlib.Path(folder)
    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(TEXT.read_text()[:6000],
                                                                     add_special_tokens=False).ids
    arrays = {}
    with torch.no_grad():
        for part, (length, kept, more) in PARTS.items():
            model, prompt = load(folder, part), torch.tensor([ids[:length]])
            arrays[f"{part}_ids"] = prompt[0].numpy()
            arrays[f"{part}_logits"] = model(prompt).logits[0, -kept:].float().numpy()
            tokens = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=more,
                                    do_sample=False,
                                    eos_token_id=None, pad_token_id=0, use_cache=True)
            arrays[f"{part}_greedy"] = tokens[0, length:].numpy()
    np.savez_compressed(pathlib.Path(out or folder) / "logits.npz", **arrays)


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
