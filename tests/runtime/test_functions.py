"""Local functions in ONNX Runtime: they survive where nothing needs them inlined, and compute the same either way."""
import unittest

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import support

RNG = np.random.default_rng(7)
X = RNG.standard_normal((3, 64)).astype(np.float32)


def weight(name, *shape):
    return numpy_helper.from_array((RNG.standard_normal(shape) / 8).astype(np.float32), name)


def function(name, inputs, nodes):
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("local", 1)]
    return helper.make_function("local", name, inputs, ["r"], nodes, imports)


def save(nodes, functions, weights, inputs, output):
    graph = helper.make_graph(nodes, "g", inputs, [output], weights)
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("local", 1)]
    model = helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    path = support.scratch("model.onnx")
    onnx.save(model, str(path))
    return path


def value(name, kind, *shape):
    return helper.make_tensor_value_info(name, kind, shape)


def run(path, **feed):
    return support.open_session(path, support.FLOAT_ARITHMETIC).run(None, feed)[0]


def functions_of(path):
    return [f.name for f in onnx.load(str(path / "model.onnx"), load_external_data=False).functions]


def dense_model():
    """relu(relu(x * w1) * w2): the weights are arguments of a function that calls another one."""
    dense = function("Dense", ["a", "m"], [helper.make_node("MatMul", ["a", "m"], ["r"])])
    layer = function("Layer", ["a", "m"], [helper.make_node("Dense", ["a", "m"], ["d"], domain="local"),
                                           helper.make_node("Relu2", ["d"], ["r"], domain="local")])
    relu = function("Relu2", ["a"], [helper.make_node("Relu", ["a"], ["r"])])
    nodes = [helper.make_node("Layer", ["x", "w1"], ["h"], domain="local"),
             helper.make_node("Layer", ["h", "w2"], ["y"], domain="local")]
    return save(nodes, [dense, layer, relu], [weight("w1", 64, 96), weight("w2", 96, 32)],
                [value("x", TensorProto.FLOAT, 3, 64)], value("y", TensorProto.FLOAT, 3, 32))


def largest_model():
    """A function with Max, which stays float32 in a 16-bit graph, called with floats and with integers."""
    largest = function("Largest", ["a", "b"], [helper.make_node("Max", ["a", "b"], ["r"])])
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]),
             helper.make_node("Largest", ["h", "c"], ["m"], domain="local"),
             helper.make_node("Largest", ["n", "k"], ["i"], domain="local"),
             helper.make_node("Cast", ["i"], ["j"], to=TensorProto.FLOAT),
             helper.make_node("Add", ["m", "j"], ["y"])]
    constants = [weight("w", 64, 32), weight("c", 32), numpy_helper.from_array(np.array([2], np.int64), "k")]
    return save(nodes, [largest], constants, [value("x", TensorProto.FLOAT, 3, 64), value("n", TensorProto.INT64, 1)],
                value("y", TensorProto.FLOAT, 3, 32))


class Functions(unittest.TestCase):
    def test_weights_as_arguments(self):
        source = dense_model()
        for options in (("-p", "int4", "--accuracy-level", "0"), ("-p", "int4", "--style", "qdq"),
                        ("-p", "int8", "--accuracy-level", "0"), ("-p", "int8", "--scheme", "dynamic")):
            with self.subTest(options=options):
                out = support.quantize(source, *options)
                self.assertEqual(functions_of(out), ["Relu2"])
                found = run(out / "model.onnx", x=X)
                if "dynamic" not in options:
                    # The same codes as floats: what is left is the order of sums.
                    exact = run(support.quantize(out, "-p", "fp32") / "model.onnx", x=X)
                    self.assertLess(support.relative_difference([exact], [found]), (64 + 96) * 2.0**-24)
                difference = support.relative_difference([run(source, x=X)], [found])
                # Half a step of 1/7.5 or 1/127 of the largest weight of a block or channel, which is 3.5 deviations at most.
                self.assertLess(difference, 2 * 3.5 / (15 if "int4" in options else 127))
                self.assertGreater(difference, 1e-4)

    def test_report_says_what_was_inlined(self):
        done = support.report(dense_model(), "-o", support.scratch("out"), "--dry-run", "-p", "int4")
        self.assertTrue(any("local.Dense, local.Layer" in w for w in done["warnings"]), done["warnings"])

    def test_functions_survive_where_nothing_is_needed(self):
        source = dense_model()
        out = support.quantize(source, "-p", "fp16")
        self.assertEqual(functions_of(out), ["Dense", "Layer", "Relu2"])
        # Weights, activations and sums of 64 and 96 products, each rounded to 11 bits.
        difference = support.relative_difference([run(source, x=X)], [run(out / "model.onnx", x=X)])
        self.assertLess(difference, (64 + 96 + 6) * 2.0**-11)
        self.assertGreater(difference, 0)

    def test_float32_operators_in_functions_of_two_types(self):
        source = largest_model()
        out = support.quantize(source, "-p", "fp16")
        self.assertEqual(functions_of(out), [])
        n = np.array([1], np.int64)
        difference = support.relative_difference([run(source, x=X, n=n)], [run(out / "model.onnx", x=X, n=n)])
        # x, w, c and each result round to 11 bits, sums of 64 products too.
        self.assertLess(difference, (4 + 64) * 2.0**-11)
        self.assertGreater(difference, 0)


if __name__ == "__main__":
    unittest.main()
