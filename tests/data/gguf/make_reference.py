#!/usr/bin/env python3
"""Makes the folder that make_hashes.py reads: what llama.cpp's tools make of the bundled checkpoints.

    make_reference.py LLAMA_CPP REFERENCE    LLAMA_CPP is a source tree of llama.cpp b11434 with llama-quantize and
                                             llama-imatrix in build/bin, built for x86-64

Needs torch 2.15.0 and transformers 5.23.0 for convert_hf_to_gguf.py. Writes <checkpoint>-f16.gguf and, per type,
<checkpoint>/<TYPE>.json (../describe.py); <TYPE>-imatrix.json with phi3-tiny-imatrix.gguf, which is tests/data/gguf's:
llama-imatrix sums in an order that depends on the number of threads, so it is made only where it is missing.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "runtime")]
import describe  # noqa: E402
import genai_graph  # noqa: E402

FEW = ["Q4_0", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0"]
ALL = [*FEW, "BF16", "F32", "IQ4_NL", "IQ4_XS", "MXFP4_MOE", "Q2_K", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q4_1", "Q4_K_S",
       "Q5_0", "Q5_1", "Q5_K_S", "TQ1_0", "TQ2_0"]
TYPES = {"phi2-tiny": FEW, "phi3-4k-tiny": FEW, "phi3-tiny": ALL, "phi4-tiny": ALL, "phimoe-tiny": FEW}
IMATRIX_TYPES = {"phi3-tiny": ["IQ4_XS", "Q2_K", "Q4_0", "Q4_K_M", "Q5_K_M"]}
CONVERTED = {"phi3-tiny": ["bf16", "f32", "q8_0"], "phi4-tiny": ["f32", "q8_0"]}
# The converter knows byte-level vocabularies by a hash of how they split a text. It cannot know the tiny ones; they get
# the name that the published model's vocabulary has.
PRE_TOKENIZERS = {"phi2-tiny": "phi-2", "phi4-tiny": "gpt-4o"}
CONVERT = """
import sys
llama, pre, *sys.argv[1:] = sys.argv[1:]
sys.path[:0] = [llama, llama + "/gguf-py"]
import torch
torch.set_num_threads(1)
import convert_hf_to_gguf
import conversion.base
if pre:
    conversion.base.TextModel.get_vocab_base_pre = lambda self, tokenizer: pre
convert_hf_to_gguf.main()
"""


def convert(llama, checkpoint, kind, out):
    arguments = [genai_graph.checkpoint(checkpoint), "--outtype", kind, "--outfile", out]
    subprocess.run([sys.executable, "-c", CONVERT, llama, PRE_TOKENIZERS.get(checkpoint, ""), *arguments], check=True,
                   env={**os.environ, "HF_HUB_OFFLINE": "1"})


def importance(llama, reference):
    """The matrix of tests/data/gguf, or a new one: the first 40 windows of 256 tokens of calib.txt."""
    out = reference / "out/phi3-tiny-imatrix.gguf"
    out.parent.mkdir(exist_ok=True)
    kept = HERE / out.name
    if kept.exists():
        shutil.copy(kept, out)
        return
    text = genai_graph.checkpoint("phi3-tiny") / "calib.txt"
    subprocess.run([llama / "build/bin/llama-imatrix", "-m", reference / "phi3-tiny-f16.gguf", "-f", text.name,
                    "-o", out, "-c", "256", "--chunks", "40"], check=True, cwd=text.parent)
    shutil.copy(out, kept)


def main():
    llama, reference = (pathlib.Path(argument).resolve() for argument in sys.argv[1:])
    reference.mkdir(parents=True, exist_ok=True)

    def record(checkpoint, run, path):
        (reference / checkpoint).mkdir(exist_ok=True)
        text = json.dumps(describe.describe(path), indent=1, ensure_ascii=False)
        (reference / checkpoint / f"{run}.json").write_text(text + "\n")
        print(checkpoint, run, flush=True)

    def quantize(checkpoint, kind, *options):
        # The file keeps the path of the matrix as it was given.
        subprocess.run([llama / "build/bin/llama-quantize", *options, whole, scratch, kind], check=True, cwd=reference,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        record(checkpoint, kind + ("-imatrix" if options else ""), scratch)

    scratch = reference / "scratch.gguf"
    for checkpoint, kinds in TYPES.items():
        whole = reference / f"{checkpoint}-f16.gguf"
        convert(llama, checkpoint, "f16", whole)
        record(checkpoint, "convert-f16", whole)
        for kind in CONVERTED.get(checkpoint, []):
            convert(llama, checkpoint, kind, scratch)
            record(checkpoint, f"convert-{kind}", scratch)
        for kind in kinds:
            quantize(checkpoint, kind)
        if checkpoint in IMATRIX_TYPES:
            importance(llama, reference)
        for kind in IMATRIX_TYPES.get(checkpoint, []):
            quantize(checkpoint, kind, "--imatrix", "out/phi3-tiny-imatrix.gguf")
    scratch.unlink()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main()
