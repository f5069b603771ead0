"""What the runtime tests share: running phiquant, opening its outputs, reading weights back without its help."""
import functools
import hashlib
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import atexit

import numpy as np
import onnx
from onnx import numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools/quality"))
import perplexity  # noqa: E402

PHIQUANT = os.environ.get("PHIQUANT", str(ROOT / "build/release/phiquant"))
FP32 = ROOT / "examples/phi3-tiny-onnx"       # weights are stored as fp32, their values are bf16's
BF16 = ROOT / "tests/data/phi3-tiny-bf16w"    # the same model, weights as bf16 behind Cast
WINDOW = 256

_scratch = pathlib.Path(tempfile.mkdtemp(prefix="phiquant-runtime-"))
atexit.register(shutil.rmtree, _scratch, ignore_errors=True)


def scratch(name):
    """A path that does not exist yet, gone when the tests end."""
    folder = pathlib.Path(tempfile.mkdtemp(dir=_scratch))
    return folder / name


def run(*args, env=None, check=True):
    """Runs phiquant; returns the finished process. A failure is an assertion that shows stderr."""
    done = subprocess.run([PHIQUANT, *map(str, args)], capture_output=True, text=True,
                          env={**os.environ, **(env or {})})
    if check and done.returncode != 0:
        raise AssertionError(f"phiquant {' '.join(map(str, args))}: exit {done.returncode}\n{done.stderr}")
    return done


def quantize(source, *options, out=None, env=None):
    """Quantizes into a new folder (or `out`); returns its path."""
    out = out or scratch("model")
    run("quantize", source, "-o", out, *options, "--quiet", env=env)
    return out


@functools.lru_cache(maxsize=None)
def cached(source, options):
    """The output for `options` (a tuple of strings), made once for all tests. Read only."""
    return quantize(source, *options)


def report(source, *options):
    """The JSON report of `quantize --dry-run`, or of a real run where no --dry-run is given."""
    return json.loads(run("quantize", source, *options, "--json").stdout)


def files_of(folder):
    """Name -> size of every file in an output."""
    folder = pathlib.Path(folder)
    if folder.is_file():
        return {folder.name: folder.stat().st_size}
    return {str(p.relative_to(folder)): p.stat().st_size for p in sorted(folder.rglob("*")) if p.is_file()}


def digest(folder):
    """SHA-256 over names and bytes of an output's files."""
    folder = pathlib.Path(folder)
    total = hashlib.sha256()
    for p in sorted(folder.rglob("*")) if folder.is_dir() else [folder]:
        if p.is_file():
            total.update(str(p.relative_to(folder)).encode() + b"\0" + p.read_bytes())
    return total.hexdigest()


def load(path):
    """The ModelProto with its weights."""
    return onnx.load(str(perplexity.model_file(path)))


def open_session(path, config=()):
    return perplexity.open_session(perplexity.model_file(path), config=config)


def package_file(package, path):
    """A file inside an installed package whose code is not imported."""
    return pathlib.Path(importlib.util.find_spec(package).submodule_search_locations[0]) / path


# ---- Logits on the evaluation text ----

@functools.lru_cache(maxsize=None)
def eval_windows(tokens):
    return perplexity.windows(np.load(ROOT / "tests/data/eval_ids.npy"), WINDOW, tokens)


# ONNX Runtime fuses DequantizeLinear and MatMul into MatMulNBits, by default with 8-bit activations (level 4).
FLOAT_ARITHMETIC = (("session.qdq_matmulnbits_accuracy_level", "0"),)


@functools.lru_cache(maxsize=None)
def logits(path, tokens, config=()):
    return perplexity.logits_of(open_session(path, config), eval_windows(tokens))


def score(path, tokens):
    """perplexity, kl, top1 and sqnr_db against the float example."""
    return perplexity.score(eval_windows(tokens), logits(path, tokens), logits(FP32, tokens))


def relative_difference(a, b):
    """Norm of the difference of two lists of logits over the norm of the first."""
    difference = sum(((x - y) ** 2).sum() for x, y in zip(a, b))
    return float(np.sqrt(difference / sum((x ** 2).sum() for x in a)))


# ---- What a runtime computes: docs/testing.md says what may be compared with what ----

def eight_bit_rounding(n_products, block):
    """The relative norm by which logits move where activations are rounded to 8 bits.

    A block's largest value is 127 steps and at most the block's norm; each error is uniform over one step, so that
    the norm of all is sqrt(block / 12) steps. The errors of products that follow one another are independent: they
    grow with the root of their number.
    """
    return (n_products * block / 12) ** 0.5 / 127


def logit_error(rows, relative):
    """The largest error of one logit of each row, where a row's errors have `relative` times the row's norm: of n
    independent errors the largest is near sqrt(2 ln n) times their root mean square."""
    return relative * np.sqrt((rows ** 2).mean(-1) * 2 * np.log(rows.shape[-1]))


def assert_greedy(test, rows, tokens, error):
    """Each token is the one that float logits put first, or a near tie: the order of two logits is only sure where
    they lie further apart than twice the error of one.

    rows    [tokens, vocabulary]: the float model's logits, computed on this machine, where each token was chosen
    tokens  chosen by another model or runtime, or on another machine
    error   how far the logits that they were chosen by may lie from `rows`: a number, or one for each row
    """
    rows, tokens, bound = np.asarray(rows), np.asarray(tokens), 2 * np.broadcast_to(error, len(tokens))
    test.assertEqual(len(rows), len(tokens))
    behind = rows.max(-1) - rows[np.arange(len(tokens)), tokens]
    for i in np.flatnonzero(behind > bound):
        test.fail(f"token {i} of {len(tokens)} is {tokens[i]}; the float model puts {rows[i].argmax()} first, by "
                  f"{behind[i]:.3g}, where rounding explains {bound[i]:.3g}")
    # What the bound lets through: of tokens drawn at random one in twenty at most, and never all of them.
    test.assertLess((rows >= (rows.max(-1) - bound)[:, None]).mean(), 0.05)


# ---- Weights, decoded here and not by phiquant ----

def unpack(codes, bits):
    """Flat uint8 -> one code a value, low bits first."""
    codes = np.asarray(codes, np.uint8).reshape(-1)
    per_byte = 8 // bits
    shifts = np.arange(per_byte, dtype=np.uint8) * bits
    return ((codes[:, None] >> shifts) & ((1 << bits) - 1)).reshape(-1)


class Graph:
    """A model's graph with look-ups by tensor name."""

    def __init__(self, model):
        self.model = model
        self.tensors = {t.name: t for t in model.graph.initializer}
        self.producer = {o: n for n in model.graph.node for o in n.output}

    def array(self, name):
        """An initializer as numpy; 4-bit types come as int8 or uint8."""
        value = numpy_helper.to_array(self.tensors[name])
        kind = self.tensors[name].data_type
        if kind == onnx.TensorProto.INT4:
            return value.astype(np.int8)
        return value.astype(np.uint8) if kind == onnx.TensorProto.UINT4 else value

    def constant(self, name):
        return name in self.tensors

    def quantized_nodes(self):
        """Nodes that hold quantized weights: MatMulNBits, DequantizeLinear of an initializer, MatMulInteger."""
        for node in self.model.graph.node:
            if node.op_type in ("MatMulNBits", "GatherBlockQuantized"):
                yield node
            elif node.op_type == "DequantizeLinear" and self.constant(node.input[0]):
                yield node
            elif node.op_type == "MatMulInteger" and self.constant(node.input[1]):
                yield node


def attributes(node):
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def decode_nbits(graph, node):
    """MatMulNBits' weight [K, N] as its schema defines it: (code - zero point) * scale."""
    a = attributes(node)
    k, n, bits, block = a["K"], a["N"], a["bits"], a["block_size"]
    blocks = -(-k // block)
    scales = graph.array(node.input[2]).reshape(n, blocks, 1)
    codes = unpack(graph.array(node.input[1]), bits).reshape(n, blocks, block).astype(np.int32)
    zero = np.int32(1 << (bits - 1))
    if len(node.input) > 3 and node.input[3]:
        stored = graph.array(node.input[3])
        if stored.dtype != np.uint8:                       # float zero points
            centred = codes.astype(np.float32) - stored.reshape(n, blocks, 1).astype(np.float32)
            values = (centred * scales.astype(np.float32)).reshape(n, blocks * block)[:, :k].T
            return np.ascontiguousarray(values)
        zero = unpack(stored, bits).reshape(n, -1)[:, :blocks, None].astype(np.int32)
    values = (codes - zero).astype(np.float32) * scales.astype(np.float32)
    return np.ascontiguousarray(values.reshape(n, blocks * block)[:, :k].T)


def decode_linear(graph, node):
    """DequantizeLinear's output as its specification defines it: per tensor, per axis or blocked."""
    a = attributes(node)
    codes = graph.array(node.input[0]).astype(np.int32)
    scales = graph.array(node.input[1])
    zeros = np.zeros(scales.shape, np.int32)
    if len(node.input) > 2 and node.input[2]:
        zeros = graph.array(node.input[2]).astype(np.int32)
    axis, block = a.get("axis", 1) % max(codes.ndim, 1), a.get("block_size", 0)
    if block:
        scales, zeros = (np.repeat(x, block, axis).take(np.arange(codes.shape[axis]), axis) for x in (scales, zeros))
    elif scales.ndim == 1 and scales.size > 1 or scales.shape == (1,) and codes.shape[axis] == 1:
        shape = [1] * codes.ndim
        shape[axis] = -1
        scales, zeros = scales.reshape(shape), zeros.reshape(shape)
    return (codes - zeros).astype(np.float32) * scales.astype(np.float32)
