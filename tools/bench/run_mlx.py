#!/usr/bin/env python3
"""Times phiquant beside mlx_lm.convert on the same checkpoint, in one run.

    run_mlx.py CHECKPOINT [--only NAME,...] [--no-peer] [--repeat N]

CHECKPOINT is a folder such as tools/bench/make_checkpoint.py writes. Both write whole folders, on the CPU; costs are measured as in
run.py: of phiquant the best of the runs by CPU, of mlx_lm one. Run with the interpreter that `tools/setup --tests` installs.
"""
import argparse
import os
import pathlib
import shutil
import sys
import tempfile

import run

CONVERT = """
import mlx.core as mx
mx.set_default_device(mx.cpu)
from mlx_lm.convert import convert
convert({source!r}, {target!r}, quantize=True, **{options!r})
"""
# Name, phiquant's options, mlx_lm's, CPU ratio to reach.
CASES = [
    ("affine4", ["--scheme", "affine4"], {"q_bits": 4}, 6),
    ("affine8", ["--scheme", "affine8"], {"q_bits": 8}, 6),
    ("affine3", ["--scheme", "affine3"], {"q_bits": 3}, 6),
    ("mxfp4", ["--scheme", "mxfp4"], {"q_mode": "mxfp4"}, 6),
]


def peer_command(source, options):
    return lambda out: [sys.executable, "-c", CONVERT.format(source=str(source), target=str(out), options=options)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=pathlib.Path)
    parser.add_argument("--only", type=lambda text: text.split(","), help="cases: " + " ".join(c[0] for c in CASES))
    parser.add_argument("--no-peer", dest="peer", action="store_false")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--scratch", type=pathlib.Path, help="where outputs go; default: beside the checkpoint")
    parser.add_argument("--phiquant", default=os.environ.get("PHIQUANT", str(run.ROOT / "build/release/phiquant")))
    args = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="bench-", dir=args.scratch or args.checkpoint.parent))
    try:
        run.header()
        for name, options, peer_options, wanted in CASES:
            if args.only and name not in args.only:
                continue
            ours = []
            for _ in range(args.repeat):
                run.warm(args.checkpoint)
                command = run.phiquant_command(args, args.checkpoint, ["--format", "mlx", "--no-protect", *options])
                ours.append(run.run_once(command, scratch))
            cost = run.best([c for c, _ in ours])
            run.row(name, "phiquant", cost, ours[0][1])
            if args.peer:
                run.warm(args.checkpoint)
                peer, size = run.run_once(peer_command(args.checkpoint, peer_options), scratch)
                run.row(name, "mlx_lm", peer, size, f"{peer.cpu / cost.cpu:.1f} (wanted {wanted})")
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
