#!/usr/bin/env python3
"""Makes tests/data/mlx/<checkpoint>.json: what mlx_lm.convert makes of a checkpoint, in brief.

    make_hashes.py REFERENCE OUT           REFERENCE holds <checkpoint>/<option>/ folders, each with config.json and
                                           tensors.json (SHA-256 of every tensor), and greedy.json

Per option: phiquant's options for the same thing, config.json, the first 16 hex digits of each tensor's SHA-256 behind
its type and shape, and a prompt. Made with mlx-lm 0.32.2 and mlx 0.32.4 on the CPU.
"""
import argparse
import json
import pathlib

# mlx_lm.convert's options and ours.
OPTIONS = {
    "q4-g64": ["--precision", "int4", "--no-protect"],
    "q4-g32": ["--precision", "int4", "--no-protect", "--block-size", "32"],
    "q8-g64": ["--precision", "int8", "--no-protect"],
    "mxfp4": ["--scheme", "mxfp4", "--no-protect"],
    "mixed_4_6": ["--scheme", "mixed_4_6", "--no-protect"],
    "fp16": ["--precision", "fp16"],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("reference", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    args = parser.parse_args()
    greedy = json.loads((args.reference / "greedy.json").read_text())
    for checkpoint in sorted(p for p in args.reference.iterdir() if p.is_dir()):
        options = {}
        for folder in sorted(checkpoint.iterdir()):
            tensors = {}
            for file in json.loads((folder / "tensors.json").read_text()).values():
                for name, t in file["tensors"].items():
                    tensors[name] = f"{t['type']} {t['shape']} {t['sha256'][:16]}"
            options[folder.name] = {"options": OPTIONS[folder.name], "tensors": tensors,
                                    "config": json.loads((folder / "config.json").read_text())}
            if said := greedy.get(f"{checkpoint.name}-{folder.name}"):
                options[folder.name]["prompt"] = said["prompt_ids"]
        (args.out / f"{checkpoint.name}.json").write_text(json.dumps(options, indent=1) + "\n")
        print(f"{checkpoint.name}: {', '.join(options)}")


if __name__ == "__main__":
    main()
