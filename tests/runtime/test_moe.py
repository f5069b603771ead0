"""8-bit experts of Phi-3.5-MoE: the codes are right, and ONNX Runtime computes with them exactly where it is told to."""
import os
import unittest
from unittest import mock

import numpy as np
import onnx

import genai_graph
import support
import test_genai

CHECKPOINT = "phimoe-tiny"


def decoded_experts(graph, node):
    """The weights of a QMoE node of 8-bit blocks of 32, by the names that the float graph gives them."""
    layer = node.name.split("/")[2].removeprefix("layers.")
    for code, scale, names in ((2, 3, ("gate_proj", "up_proj")), (5, 6, ("down_proj",))):
        codes, scales = graph.array(node.input[code]), graph.array(node.input[scale])
        for expert in range(codes.shape[0]):
            values = codes[expert].astype(np.float32).reshape(*scales[expert].shape, 32) - 128
            rows = (values * scales[expert][..., None]).reshape(scales.shape[1], -1)
            for i, name in enumerate(names):           # rows of gate and up by turns
                yield f"model.layers.{layer}.moe.experts.{expert}.{name}.MatMul.weight", np.ascontiguousarray(rows[i::len(names)].T)


class EightBits(unittest.TestCase):
    def test_logits_are_those_of_the_decoded_weights(self):
        out = test_genai.convert(CHECKPOINT, "-p", "int8", "--accuracy-level", "0")
        quantized = support.Graph(support.load(out))
        weights = {}
        for node in quantized.model.graph.node:
            if node.op_type == "MatMulNBits":
                weights[node.input[1].rsplit("_Q", 1)[0]] = support.decode_nbits(quantized, node)
            elif node.op_type == "QMoE":
                weights.update(decoded_experts(quantized, node))
        plain = onnx.load(str(test_genai.convert(CHECKPOINT, "-p", "fp32") / "model.onnx"))
        for tensor in plain.graph.initializer:
            if tensor.name in weights:
                tensor.CopyFrom(onnx.numpy_helper.from_array(weights[tensor.name], tensor.name))
        decoded = support.scratch("decoded")
        decoded.mkdir()
        onnx.save(plain, str(decoded / "model.onnx"))
        (decoded / "genai_config.json").write_bytes((out / "genai_config.json").read_bytes())
        for length in ("short", "long"):
            ids = test_genai.recorded(CHECKPOINT)[f"{length}_ids"]
            wanted = test_genai.logits(decoded, ids)
            # Read when a session is made; by default the kernel rounds activations to 8 bits.
            with mock.patch.dict(os.environ, ORT_QMOE_CPU_QNBIT_GEMM="fp32"):
                got = test_genai.logits(out, ids)
            self.assertLess(support.relative_difference([wanted], [got]), test_genai.float_slack(CHECKPOINT, len(ids)))

    def test_the_user_hears_of_the_kernel_that_ignores_the_accuracy_level(self):
        source = genai_graph.checkpoint(CHECKPOINT)
        for level, warned in ((("--accuracy-level", "0"), True), ((), False)):
            done = support.run("quantize", source, "-o", support.scratch("out"), "-p", "int8", *level, "--dry-run")
            self.assertEqual("ORT_QMOE_CPU_QNBIT_GEMM=fp32" in done.stdout + done.stderr, warned)


if __name__ == "__main__":
    unittest.main()
