#!/usr/bin/env python3
"""Writes tests/data/gguf/<checkpoint>.json: what llama.cpp's own tools make of the checkpoints under tests/data and examples.

  make_hashes.py FOLDER     (needs the gguf package)

FOLDER has <checkpoint>-f16.gguf, from convert_hf_to_gguf.py --outtype f16 (llama.cpp b11434), and for every further
type <checkpoint>/<TYPE>.json: keys and SHA-256 of tensors of `llama-quantize <checkpoint>-f16.gguf TYPE`, of the
converter's own outtypes (convert-<type>.json), and of runs with an importance matrix (<TYPE>-imatrix.json).

  metadata     [key, GGUF type, value] in the file's order; arrays as {"length", "sha256"} of their JSON
  files        name of the run: {"keys": the last ones, with values, "tensors": {name: [type, shape, SHA-256]}}
"""
import hashlib
import json
import pathlib
import sys

from gguf import GGUFReader

OUT = pathlib.Path(__file__).resolve().parent


def digest(values):
    return {"length": len(values), "sha256": hashlib.sha256(json.dumps(values, ensure_ascii=False).encode()).hexdigest()}


def metadata(path):
    rows = []
    for key, field in GGUFReader(path).fields.items():
        if not key.startswith("GGUF."):
            value = field.contents()
            rows.append([key, int(field.types[0]), digest(value) if isinstance(value, list) else value])
    return rows


def main():
    folder = pathlib.Path(sys.argv[1])
    OUT.mkdir(parents=True, exist_ok=True)
    for whole in sorted(folder.glob("*-f16.gguf")):
        checkpoint = whole.name.removesuffix("-f16.gguf")
        rows = metadata(whole)
        known = {key for key, _, _ in rows}
        files = {}
        for path in sorted((folder / checkpoint).glob("*.json")):
            described = json.loads(path.read_text())
            last = {key: value for key, value in described["kv"].items()
                    if key in ("general.quantization_version", "general.file_type") or key not in known}
            files[path.stem] = {
                "keys": {k: v for k, v in last.items() if not k.startswith("GGUF.")},
                "tensors": {name: [t["type"], t["shape"], t["sha256"]] for name, t in described["tensors"].items()}}
        text = json.dumps({"metadata": rows, "files": files}, ensure_ascii=False, indent=0, separators=(",", ":"))
        (OUT / f"{checkpoint}.json").write_text(text + "\n")
        print(checkpoint, len(rows), "keys,", len(files), "files")


if __name__ == "__main__":
    main()
