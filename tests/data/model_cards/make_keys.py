#!/usr/bin/env python3
"""Writes tests/data/model_cards/<card>.json: the general.* keys that llama.cpp's converter makes of <card>.md.

  make_keys.py CONVERT_HF_TO_GGUF.PY     (b11434; run by a Python that has its requirements)

Each card becomes README.md of a copy of tests/data/checkpoints/phi3-4k-tiny. Rows are [key, GGUF type, value], in the file's order.
"""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

DATA = pathlib.Path(__file__).resolve().parents[1]
CHECKPOINT = DATA / "checkpoints/phi3-4k-tiny"


def general_keys(path):
    from gguf import GGUFReader
    return [[key, int(field.types[0]), field.contents()] for key, field in GGUFReader(path).fields.items()
            if key.startswith("general.") and key not in ("general.architecture", "general.file_type", "general.quantization_version")]


def main():
    converter = pathlib.Path(sys.argv[1]).resolve()
    sys.path.insert(0, str(converter.parent / "gguf-py"))
    for card in sorted((DATA / "model_cards").glob("*.md")):
        with tempfile.TemporaryDirectory() as folder:
            copy, out = pathlib.Path(folder) / CHECKPOINT.name, pathlib.Path(folder) / "out.gguf"
            shutil.copytree(CHECKPOINT, copy)
            shutil.copy(card, copy / "README.md")
            subprocess.run([sys.executable, str(converter), str(copy), "--outtype", "f16", "--outfile", str(out)], check=True,
                           capture_output=True)
            rows = general_keys(out)
        text = "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n"
        card.with_suffix(".json").write_text(text)
        print(card.stem, len(rows), "keys")


if __name__ == "__main__":
    main()
