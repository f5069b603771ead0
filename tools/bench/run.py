#!/usr/bin/env python3
"""Times phiquant beside ONNX Runtime's quantizers on the same file, in one run.

    run.py [--model FOLDER] [--only NAME,...] [--no-peer] [--repeat N]
    run.py --large FOLDER          the 32-layer model (15.3 GB): phiquant alone, and --dry-run

Makes the model (4 layers, 2.6 GB) if the folder does not hold one. Before each run the model is read once, so that it is in the page
cache where it fits. Every run is a process of its own; CPU seconds (user + system), wall seconds and peak RSS are what the kernel
accounts for it and its children. Outputs go to a temporary folder (--scratch says where) and are removed.
The peer's cost includes loading and saving: that is what a user waits for. With --repeat the best run counts, by CPU.
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
NBITS = """
import onnx
from onnxruntime.quantization.matmul_nbits_quantizer import *
quantizer = MatMulNBitsQuantizer(onnx.load(source), block_size=32, is_symmetric={symmetric}, accuracy_level=4, algo_config={config})
quantizer.process()
quantizer.model.save_model_to_file(target, True)
"""
DEFAULT = "DefaultWeightOnlyQuantConfig(block_size=32, is_symmetric={symmetric}, accuracy_level=4, bits={bits})"
FP16 = """
import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
model = convert_float_to_float16(onnx.load(source), keep_io_types=True, disable_shape_infer=True)   # inference needs a model below 2 GiB
onnx.save(model, target, save_as_external_data=True)
"""
DYNAMIC = """
from onnxruntime.quantization import QuantType, quantize_dynamic
quantize_dynamic(source, target, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8,
                 use_external_data_format=True)
"""


def default(bits, symmetric):
    return NBITS.format(symmetric=symmetric, config=DEFAULT.format(bits=bits, symmetric=symmetric))


# Name, phiquant's options, the peer's program, CPU ratio to reach.
CASES = [
    ("int4", ["-p", "int4", "--no-protect"], default(4, True), 15),
    ("int4-asymmetric", ["-p", "int4", "--no-protect", "--asymmetric"], default(4, False), 15),
    ("int8", ["-p", "int8"], default(8, True), 15),
    ("k_quant", ["-p", "int4", "--no-protect", "--scheme", "k_quant"],
     NBITS.format(symmetric=False, config="KQuantWeightOnlyQuantConfig()"), 30),
    ("fp16", ["-p", "fp16"], FP16, 30),
    ("dynamic", ["-p", "int8", "--scheme", "dynamic_channel"], DYNAMIC, 30),
]


class Cost:
    """What one process used."""

    def __init__(self, cpu, wall, rss):
        self.cpu, self.wall, self.rss = cpu, wall, rss


def measure(command):
    """Runs a command; raises with its last output where it fails."""
    with tempfile.TemporaryFile() as log:
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            log.seek(0)
            raise RuntimeError(f"{command[0]} failed ({process.returncode}):\n{log.read()[-2000:].decode(errors='replace')}")
    return Cost(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss * 1024)


def warm(folder):
    """Reads the model once, into one small buffer."""
    buffer = bytearray(1 << 22)
    for path in folder.iterdir():
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def best(runs):
    return min(runs, key=lambda cost: cost.cpu)


def output_size(folder):
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def run_once(make_command, scratch):
    """One measured run in an empty folder; returns its cost and the bytes it left there."""
    folder = pathlib.Path(tempfile.mkdtemp(dir=scratch))
    try:
        return measure(make_command(folder / "out")), output_size(folder)
    finally:
        shutil.rmtree(folder)


def phiquant_command(args, model, options):
    return lambda out: [args.phiquant, "quantize", str(model), "-o", str(out), "--quiet", *options]


def peer_command(model, program):
    def command(out):
        out.mkdir()
        head = f"source, target = {str(model / 'model.onnx')!r}, {str(out / 'model.onnx')!r}\n"
        return [sys.executable, "-c", head + program]
    return command


def row(name, who, cost, size, ratio=""):
    print(f"{name:16} {who:9} {cost.cpu:8.2f} {cost.wall:8.2f} {cost.cpu and cost.wall / cost.cpu:6.2f} "
          f"{cost.rss / 1e6:9.0f} {size / 1e6:9.0f}  {ratio}", flush=True)


def header():
    print(f"{'case':16} {'tool':9} {'CPU s':>8} {'wall s':>8} {'w/CPU':>6} {'RSS MB':>9} {'out MB':>9}  peer CPU / ours")


def run_cases(args, scratch):
    """Each case: phiquant and the peer, one after the other on a warm file."""
    header()
    for name, options, program, wanted in CASES:
        if args.only and name not in args.only:
            continue
        ours = []
        for _ in range(args.repeat):
            warm(args.model)
            ours.append(run_once(phiquant_command(args, args.model, options), scratch))
        cost = best([c for c, _ in ours])
        row(name, "phiquant", cost, ours[0][1])
        if args.peer:
            warm(args.model)
            peer, size = run_once(peer_command(args.model, program), scratch)
            row(name, "ORT", peer, size, f"{peer.cpu / cost.cpu:.1f} (wanted {wanted})")


def run_large(args, scratch):
    """phiquant on a model larger than memory should hold: dry run, then for real."""
    header()
    for name, options, _, _ in CASES:
        if args.only and name not in args.only:
            continue
        dry, size = run_once(phiquant_command(args, args.large, [*options, "--dry-run"]), scratch)
        row(name, "dry run", dry, size)
        cost, size = run_once(phiquant_command(args, args.large, options), scratch)
        row(name, "phiquant", cost, size)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "build/bench/model4")
    parser.add_argument("--large", type=pathlib.Path, help="folder of the 32-layer model")
    parser.add_argument("--only", type=lambda text: text.split(","), help="cases: " + " ".join(c[0] for c in CASES))
    parser.add_argument("--no-peer", dest="peer", action="store_false")
    parser.add_argument("--repeat", type=int, default=3, help="runs of phiquant a case; the best counts")
    parser.add_argument("--scratch", type=pathlib.Path, help="where outputs go; default: beside the model")
    parser.add_argument("--phiquant", default=os.environ.get("PHIQUANT", str(ROOT / "build/release/phiquant")))
    args = parser.parse_args()
    model, layers = (args.large, 32) if args.large else (args.model, 4)
    if not (model / "model.onnx").exists():
        subprocess.run([sys.executable, str(ROOT / "tools/bench/make_model.py"), str(model), "--layers", str(layers)], check=True)
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="bench-", dir=args.scratch or model.parent))
    try:
        (run_large if args.large else run_cases)(args, scratch)
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
