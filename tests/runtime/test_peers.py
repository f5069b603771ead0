"""Our bytes against those of ONNX Runtime's own quantizers, and equal results where the bytes are equal."""
import hashlib
import json
import unittest

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import peers
import support

TOKENS = 512


def one_matmul(dtype, k, n, seed=0):
    """A model with one MatMul whose weight has outliers, a zero block, a one-sided column and equal values."""
    random = np.random.default_rng(seed)
    weight = (random.standard_normal((k, n)) * 0.05).astype(np.float32)
    weight[random.integers(0, k, 8), random.integers(0, n, 8)] *= 20
    weight[:32, 0] = 0
    weight[:, 1] = np.abs(weight[:, 1])
    weight[:, 2] = 0.3
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="linear")], "one_matmul",
        [helper.make_tensor_value_info("x", kind, ["rows", k])], [helper.make_tensor_value_info("y", kind, ["rows", n])],
        [numpy_helper.from_array(weight.astype(dtype), "w")])
    path = support.scratch("model.onnx")
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), str(path))
    return path


def signature(tensor):
    return TensorProto.DataType.Name(tensor.data_type), tuple(tensor.dims)


class PeerCase(unittest.TestCase):
    maxDiff = 2000

    def assert_same_nodes(self, ours, peer, attributes=True):
        """Every node with quantized weights: same operator, attributes and initializer bytes, found by its output."""
        ours, peer = support.Graph(ours), support.Graph(peer)
        wanted = {n.output[0]: n for n in peer.quantized_nodes()}
        found = {n.output[0]: n for n in ours.quantized_nodes()}
        self.assertTrue(wanted)
        self.assertEqual(sorted(wanted), sorted(found))
        for output, node in wanted.items():
            mine = found[output]
            self.assertEqual(node.op_type, mine.op_type)
            if attributes:
                self.assertEqual(support.attributes(node), support.attributes(mine), output)
            self.assertEqual(len(node.input), len(mine.input), output)
            for a, b in zip(node.input, mine.input):
                self.assertEqual(peer.constant(a), ours.constant(b), output)
                if peer.constant(a):
                    self.assert_same_tensor(peer, a, ours, b)

    def assert_same_tensor(self, peer, a, ours, b):
        self.assertEqual(signature(peer.tensors[a]), signature(ours.tensors[b]), f"{a} and {b}")
        x, y = (numpy_helper.to_array(g.tensors[name]).tobytes() for g, name in ((peer, a), (ours, b)))
        if x != y:
            first = next(i for i in range(len(x)) if x[i] != y[i])
            different = sum(i != j for i, j in zip(x, y))
            self.fail(f"{a} and {b}: {different} of {len(x)} bytes differ, first at {first}: {x[first]} and {y[first]}")

    def assert_same_results(self, ours, peer):
        for a, b in zip(support.logits(peers.save(peer), TOKENS), support.logits(ours, TOKENS)):
            np.testing.assert_array_equal(a, b)


class Blocks(PeerCase):
    """MatMulNBitsQuantizer: default, RTN, k_quant."""

    def check(self, source, make_peer, *options):
        peer = make_peer(source)
        ours = support.quantize(source, *(["--no-protect"] if "int4" in options else []), *options)
        self.assert_same_nodes(support.load(ours), peer)
        return ours, peer

    def test_example_default(self):
        for bits in (4, 8):
            for symmetric in (True, False):
                for block in (16, 32, 128):
                    with self.subTest(bits=bits, symmetric=symmetric, block=block):
                        ours, peer = self.check(
                            support.FP32, lambda s: peers.default(s, bits, block, symmetric), "-p", f"int{bits}",
                            "--block-size", block, "--symmetric" if symmetric else "--asymmetric")
                        self.assert_same_results(ours, peer)

    def test_example_rtn(self):
        for bits in (4, 8):
            for symmetric in (True, False):
                with self.subTest(bits=bits, symmetric=symmetric):
                    ours, peer = self.check(
                        support.FP32, lambda s: peers.rtn(s, bits, 32, symmetric), "-p", f"int{bits}",
                        "--scheme", "rtn", "--symmetric" if symmetric else "--asymmetric")
                    self.assert_same_results(ours, peer)

    def test_example_k_quant(self):
        for bits in (4, 8):
            for block in (16, 32, 64, 128):      # 256 is one block a column here: the peer fails on odd numbers
                with self.subTest(bits=bits, block=block):
                    ours, peer = self.check(support.FP32, lambda s: peers.k_quant(s, bits, block), "-p", f"int{bits}",
                                            "--scheme", "k_quant", "--block-size", block)
                    self.assert_same_results(ours, peer)

    def test_example_hqq(self):
        """Recorded with PyTorch (tests/data/golden/make_hqq.py), which these tests do without."""
        wanted = json.loads((support.ROOT / "tests/data/golden/hqq_example.json").read_text())
        model = support.load(support.quantize(support.FP32, "-p", "int4", "--scheme", "hqq", "--no-protect"))
        found = {t.name: hashlib.sha256(numpy_helper.to_array(t).tobytes()).hexdigest()[:16] for t in model.graph.initializer}
        self.assertEqual(len(wanted), 17 * 3)
        self.assertEqual({name: found.get(name) for name in wanted}, wanted)

    def test_example_qdq_int4(self):
        for symmetric in (True, False):
            for block in (16, 32, 128):
                with self.subTest(symmetric=symmetric, block=block):
                    ours, peer = self.check(
                        support.FP32, lambda s: peers.default(s, 4, block, symmetric, "qdq"), "-p", "int4",
                        "--style", "qdq", "--block-size", block, "--symmetric" if symmetric else "--asymmetric")
                    self.assert_same_results(ours, peer)

    def test_dtypes_and_ragged_shapes(self):
        """K and N that fill neither blocks nor bytes; weights of all three float types."""
        for dtype in (np.float32, np.float16, ml_dtypes.bfloat16):
            for k, n in ((200, 5), (288, 7)):
                source = one_matmul(dtype, k, n)
                for bits in (4, 8):
                    for symmetric in (True, False):
                        with self.subTest(dtype=dtype.__name__, k=k, n=n, bits=bits, symmetric=symmetric):
                            self.check(source, lambda s: peers.default(s, bits, 32, symmetric), "-p", f"int{bits}",
                                       "--symmetric" if symmetric else "--asymmetric")

    def test_qdq_int4_ragged_shapes(self):
        for dtype in (np.float32, np.float16):
            for k, n in ((200, 5), (288, 7)):
                for symmetric in (True, False):
                    with self.subTest(dtype=dtype.__name__, k=k, n=n, symmetric=symmetric):
                        self.check(one_matmul(dtype, k, n), lambda s: peers.default(s, 4, 32, symmetric, "qdq"),
                                   "-p", "int4", "--style", "qdq", "--symmetric" if symmetric else "--asymmetric")

    def test_bf16_behind_cast_equals_fp32(self):
        """The Cast feeds a float MatMul: same values, so the same codes and float scales as from the fp32 file."""
        for options in (("-p", "int4"), ("-p", "int8", "--asymmetric"), ("-p", "int4", "--scheme", "k_quant")):
            with self.subTest(options=options):
                a, b = (support.load(support.quantize(s, *options)) for s in (support.FP32, support.BF16))
                self.assert_same_nodes(b, a)


class Dynamic(PeerCase):
    """quantize_dynamic: DynamicQuantizeLinear and MatMulInteger."""

    def test_example(self):
        for per_channel in (True, False):
            for signed in (True, False):
                with self.subTest(per_channel=per_channel, signed=signed):
                    peer = peers.dynamic(support.FP32, per_channel, signed)
                    ours = support.quantize(support.FP32, "-p", "int8", "--scheme",
                                            "dynamic_channel" if per_channel else "dynamic",
                                            "--symmetric" if signed else "--asymmetric")
                    self.assert_same_weights(support.load(ours), peer)
                    self.assert_same_results(ours, peer)

    def assert_same_weights(self, ours, peer):
        """MatMulInteger nodes in graph order: weight, zero point, and the scale that multiplies the result."""
        mine, wanted = self.weights(ours), self.weights(peer)
        self.assertEqual(len(wanted), len(mine))
        self.assertTrue(wanted)
        for (graph, names), (my_graph, my_names) in zip(wanted, mine):
            for a, b in zip(names, my_names):
                self.assert_same_tensor(graph, a, my_graph, b)

    def weights(self, model):
        graph = support.Graph(model)
        consumers = {}
        for node in model.graph.node:
            for name in node.input:
                consumers.setdefault(name, []).append(node)
        scale_of = {}      # activation scale -> the weight scales that it is multiplied with, in graph order
        for node in model.graph.node:
            constants = [i for i in node.input if graph.constant(i)]
            if node.op_type == "Mul" and constants and constants[0].endswith("_scale"):
                scale_of[node.output[0]] = constants[0]
        found = []
        for node in graph.quantized_nodes():
            cast = consumers[node.output[0]][0]
            multiply = consumers[cast.output[0]][0]
            scale = next(scale_of[i] for i in multiply.input if i in scale_of)
            found.append((graph, (node.input[1], node.input[3], scale)))
        return found


class Float16(PeerCase):
    """The float16 converter: same initializers, and what the runtime makes of the graph."""

    def test_example(self):
        peer = peers.float16(support.FP32, True)
        ours = support.quantize(support.FP32, "-p", "fp16")
        graph, wanted = support.Graph(support.load(ours)), support.Graph(peer)
        for name, tensor in wanted.tensors.items():
            self.assert_same_tensor(wanted, name, graph, name)
        self.assert_same_results(ours, peer)

    def test_io_types(self):
        for keep, kind in ((True, TensorProto.FLOAT), (False, TensorProto.FLOAT16)):
            ours = support.load(support.quantize(support.FP32, "-p", "fp16",
                                                 "--keep-io-types" if keep else "--no-keep-io-types"))
            peer = peers.float16(support.FP32, keep)
            for model in (ours, peer):
                self.assertEqual(model.graph.output[0].type.tensor_type.elem_type, kind)


if __name__ == "__main__":
    unittest.main()
