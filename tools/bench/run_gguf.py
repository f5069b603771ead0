#!/usr/bin/env python3
"""Times phiquant beside llama.cpp's quantizers on the same F16 GGUF file, in one run.

    run_gguf.py [--checkpoint FOLDER] [--only TYPE,...] [--repeat N] [--llama-quantize PROGRAM]
                [--convert-script CONVERT_HF_TO_GGUF.PY --convert-python PYTHON]

Makes the checkpoint (4 layers of Phi-3.5-mini, 1.3 GB) if the folder does not hold one, and an F16 file of it. The peer is llama-quantize, where
its path is given. Without it the peer does llama-quantize's work with ggml's own code, out of the library in the xllamacpp wheel (which
lacks llama_model_quantize itself): per tensor f16 to f32, ggml_quantize_chunk on two threads, write. It needs numpy, gguf and xllamacpp, gets
the types from phiquant's file, and its bytes are compared with it; its
peak RSS counts the mapped file.

Rows "direct" are whole ways from the checkpoint: phiquant's without an intermediate file; llama.cpp's, where the converter's script is
given (with llama-quantize, and a Python that has torch, transformers and sentencepiece), is that script's F16 file and then llama-quantize on it:
seconds added, the higher peak RSS. How it measures: run.py.
"""
import argparse
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import run

# Type, CPU ratio to reach.
CASES = [("q4_k_m", 4), ("q4_0", 5), ("q8_0", 5), ("q5_k_m", 4), ("q6_k", 4), ("q3_k_m", 4), ("q2_k", 4), ("iq4_xs", 4)]
END_TO_END = 4  # CPU ratio to reach from the checkpoint
PEER = """
import concurrent.futures, ctypes, importlib.util, pathlib
import numpy as np
from gguf import GGUFReader
spec = importlib.util.find_spec("xllamacpp")
lib = ctypes.CDLL(str(next(pathlib.Path(spec.origin).parent.glob("xllamacpp*.so"))))
lib.ggml_quantize_chunk.restype = lib.ggml_row_size.restype = ctypes.c_size_t
lib.ggml_quantize_chunk.argtypes = [ctypes.c_int] + [ctypes.c_void_p] * 2 + [ctypes.c_int64] * 3 + [ctypes.c_void_p]
lib.ggml_row_size.argtypes = [ctypes.c_int, ctypes.c_int64]
lib.ggml_fp16_to_fp32_row.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_int64]
lib.ggml_quantize_init.argtypes = [ctypes.c_int]
types = dict(line.split() for line in open(plan))
pool = concurrent.futures.ThreadPoolExecutor(2)
with open(target, "wb", buffering=0) as file:
    for t in GGUFReader(source).tensors:
        kind, k = int(types[t.name]), int(t.shape[0])
        rows = int(t.n_elements) // k
        if int(t.tensor_type) == kind:
            file.write(np.ascontiguousarray(t.data))
            continue
        lib.ggml_quantize_init(kind)
        x, out = np.empty((rows, k), np.float32), np.empty(rows * lib.ggml_row_size(kind, k), np.uint8)
        step = max(1, -(-rows // 16))
        def work(first):
            n = min(step, rows - first)
            lib.ggml_fp16_to_fp32_row(t.data.ctypes.data + first * k * 2, x.ctypes.data + first * k * 4, n * k)
            lib.ggml_quantize_chunk(kind, x.ctypes.data, out.ctypes.data, first * k, n, k, None)
        list(pool.map(work, range(0, rows, step)))
        file.write(out)
"""


def tensor_bytes(path):
    """SHA-256 over the tensors' bytes in the file's order, without padding, and {name: type}."""
    from gguf import GGUFReader
    import numpy as np
    total, types = hashlib.sha256(), {}
    for tensor in GGUFReader(path).tensors:
        total.update(np.ascontiguousarray(tensor.data))
        types[tensor.name] = int(tensor.tensor_type)
    return total.hexdigest(), types


def described(path):
    """tensor_bytes() in a process of its own: a large one here would count as its children's peak memory."""
    program = "import json, run_gguf, sys; print(json.dumps(run_gguf.tensor_bytes(sys.argv[1])))"
    return json.loads(subprocess.run([sys.executable, "-c", program, str(path)], check=True, capture_output=True, text=True,
                                     cwd=pathlib.Path(__file__).parent).stdout)


def peer_command(args, kind, source, folder, types):
    plan, target = folder / "types.txt", folder / "peer.bin"
    plan.write_text("".join(f"{name} {number}\n" for name, number in types.items()))
    if args.llama_quantize:
        return [args.llama_quantize, str(source), str(target), kind, "2"]
    head = f"source, target, plan = {str(source)!r}, {str(target)!r}, {str(plan)!r}\n"
    return [sys.executable, "-c", head + PEER]


def same_bytes(args, target, wanted):
    if args.llama_quantize:
        return described(target)[0] == wanted
    total = hashlib.sha256()
    with open(target, "rb") as file:
        while block := file.read(1 << 22):
            total.update(block)
    return total.hexdigest() == wanted


def run_case(args, kind, wanted, source, scratch):
    folder = pathlib.Path(tempfile.mkdtemp(dir=scratch))
    out = folder / "ours.gguf"
    runs = []
    for _ in range(args.repeat):
        out.unlink(missing_ok=True)
        run.warm(source.parent)
        runs.append(run.measure([args.phiquant, "quantize", str(source), "-o", str(out), "--scheme", kind, "--quiet"]))
    cost = run.best(runs)
    run.row(kind, "phiquant", cost, out.stat().st_size)
    if args.peer:
        digest, types = described(out)
        run.warm(source.parent)
        peer = run.measure(peer_command(args, kind, source, folder, types))
        same = "same bytes" if same_bytes(args, folder / "peer.bin", digest) else "OTHER BYTES"
        run.row(kind, "llama.cpp", peer, (folder / "peer.bin").stat().st_size,
                f"{peer.cpu / cost.cpu:.1f} (wanted {wanted}), {same}")
    shutil.rmtree(folder)


def convert(args, scratch):
    """The converter's F16 file in a folder of its own, and what it cost; nothing where no converter is given."""
    if not (args.peer and args.convert_script):
        return None
    source = scratch / "converted/model-f16.gguf"
    source.parent.mkdir()
    run.warm(args.checkpoint)
    cost = run.measure([args.convert_python, str(args.convert_script), str(args.checkpoint), "--outtype", "f16", "--outfile",
                        str(source)])
    run.row("checkpoint-f16", "llama.cpp", cost, source.stat().st_size)
    return source, cost


def added(first, second):
    return run.Cost(first.cpu + second.cpu, first.wall + second.wall, max(first.rss, second.rss))


def run_direct(args, kind, wanted, converted, scratch):
    """From the checkpoint to the type: phiquant at once, llama.cpp's tools one after the other."""
    folder = pathlib.Path(tempfile.mkdtemp(dir=scratch))
    out, runs = folder / "direct.gguf", []
    for _ in range(args.repeat):
        out.unlink(missing_ok=True)
        run.warm(args.checkpoint)
        runs.append(run.measure([args.phiquant, "quantize", str(args.checkpoint), "-o", str(out), "--scheme", kind, "--quiet",
                                 *([] if args.as_stored else ["--via-f16"])]))
    cost = run.best(runs)
    run.row(f"{kind} direct", "phiquant", cost, out.stat().st_size)
    if converted:
        source, convert_cost = converted
        target = folder / "peer.gguf"
        run.warm(source.parent)
        peer = added(convert_cost, run.measure([args.llama_quantize, str(source), str(target), kind, "2"]))
        same = "same bytes" if described(target) == described(out) else "other bytes" if args.as_stored else "OTHER BYTES"
        run.row(f"{kind} direct", "llama.cpp", peer, target.stat().st_size,
                f"{peer.cpu / cost.cpu:.1f} (wanted {wanted}), {same}")
    shutil.rmtree(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=pathlib.Path, default=run.ROOT / "build/bench/checkpoint4")
    parser.add_argument("--only", type=lambda text: text.split(","), help="types: " + " ".join(c[0] for c in CASES))
    parser.add_argument("--no-peer", dest="peer", action="store_false")
    parser.add_argument("--repeat", type=int, default=3, help="runs of phiquant a case; the best counts")
    parser.add_argument("--llama-quantize", help="the program, to measure it instead of ggml's functions")
    parser.add_argument("--convert-script", type=pathlib.Path, help="convert_hf_to_gguf.py of the same release as llama-quantize")
    parser.add_argument("--convert-python", default=sys.executable, help="the Python that runs it; default: this one")
    parser.add_argument("--as-stored", action="store_true",
                        help="rows \"direct\" without --via-f16: closer to the model, and some blocks differ from llama.cpp's")
    parser.add_argument("--scratch", type=pathlib.Path, help="where outputs go; default: beside the checkpoint")
    parser.add_argument("--phiquant", default=os.environ.get("PHIQUANT", str(run.ROOT / "build/release/phiquant")))
    args = parser.parse_args()
    if args.convert_script and not args.llama_quantize:
        parser.error("--convert-script: llama-quantize follows it, so --llama-quantize is needed")
    if not (args.checkpoint / "config.json").exists():
        subprocess.run([sys.executable, str(run.ROOT / "tools/bench/make_checkpoint.py"), str(args.checkpoint), "--layers", "4"],
                       check=True)
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="bench-", dir=args.scratch or args.checkpoint.parent))
    try:
        source = scratch / "f16/model-f16.gguf"
        source.parent.mkdir()
        run.warm(args.checkpoint)
        run.header()
        cost = run.measure([args.phiquant, "quantize", str(args.checkpoint), "-o", str(source), "--scheme", "f16", "--quiet"])
        run.row("checkpoint-f16", "phiquant", cost, source.stat().st_size)
        converted = convert(args, scratch)
        for kind, wanted in CASES:
            if args.only and kind not in args.only:
                continue
            run_case(args, kind, wanted, source, scratch)
            run_direct(args, kind, END_TO_END, converted, scratch)
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
