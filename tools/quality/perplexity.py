#!/usr/bin/env python3
"""How well an ONNX language model predicts a text, and how far it is from a baseline model.

    perplexity.py MODEL... [--baseline MODEL] [--ids FILE.npy] [--tokens N] [--window 256] [--json]

The token ids are cut into windows of --window; each window is scored on its own, its first token is not. Prints for
each model: perplexity, mean KL(baseline || model) in nats a token, share of positions where both prefer the same
token, and SQNR of the logits in dB (energy of the baseline's logits over that of the difference; of each position's
logits the mean is taken out first, since it does not change a probability). ONNX Runtime on the CPU.
"""
import argparse
import json
import pathlib

import numpy as np
import onnxruntime

ROOT = pathlib.Path(__file__).resolve().parents[2]
IDS = ROOT / "tests/data/eval_ids.npy"


def windows(ids, size, tokens=None):
    """Token windows of `size`, the last one shorter; a window of one token scores nothing and is left out."""
    ids = np.asarray(ids[:tokens], np.int64)
    parts = [ids[i:i + size] for i in range(0, len(ids), size)]
    return [p for p in parts if len(p) > 1]


def open_session(model, threads=2, config=()):
    """`config`: pairs for ONNX Runtime's session configuration."""
    options = onnxruntime.SessionOptions()
    for key, value in config:
        options.add_session_config_entry(key, value)
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def logits_of(session, parts):
    """The model's logits, [positions, vocabulary] float64 for each window."""
    inputs = {i.name for i in session.get_inputs()}
    out = []
    for part in parts:
        feed = {"input_ids": part[None], "attention_mask": np.ones((1, len(part)), np.int64)}
        logits = session.run(["logits"], {k: v for k, v in feed.items() if k in inputs})[0][0]
        out.append(logits.astype(np.float64))
    return out


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def score(parts, logits, baseline=None):
    """Perplexity of `logits` on the windows; with a baseline's logits also kl, top1 and sqnr_db."""
    nll = kl = same = signal = noise = 0.0
    count = 0
    for i, part in enumerate(parts):
        want = part[1:]
        p = log_softmax(logits[i])[:-1]
        nll -= p[np.arange(len(want)), want].sum()
        count += len(want)
        if baseline is None:
            continue
        q = log_softmax(baseline[i])[:-1]
        kl += (np.exp(q) * (q - p)).sum()
        same += (p.argmax(-1) == q.argmax(-1)).sum()
        a = baseline[i] - baseline[i].mean(-1, keepdims=True)
        b = logits[i] - logits[i].mean(-1, keepdims=True)
        signal += (a * a).sum()
        noise += ((a - b) ** 2).sum()
    result = {"perplexity": float(np.exp(nll / count)), "tokens": count}
    if baseline is not None:
        result.update(kl=float(kl / count), top1=float(same / count),
                      sqnr_db=float(10 * np.log10(signal / noise)) if noise else float("inf"))
    return result


def model_file(path):
    path = pathlib.Path(path)
    return path / "model.onnx" if path.is_dir() else path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--baseline")
    parser.add_argument("--ids", default=IDS)
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    parts = windows(np.load(args.ids), args.window, args.tokens)
    baseline = logits_of(open_session(model_file(args.baseline)), parts) if args.baseline else None
    for model in args.models:
        result = score(parts, logits_of(open_session(model_file(model)), parts), baseline)
        if args.json:
            print(json.dumps({"model": str(model), **result}))
        else:
            print(model, "  ".join(f"{k} {v:.5g}" for k, v in result.items()), sep="  ")


if __name__ == "__main__":
    main()
