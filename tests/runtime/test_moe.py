"""8-bit experts of Phi-3.5-MoE: the codes are right, and ONNX Runtime computes with them exactly where it is told to."""
import os
import unittest
from unittest import mock

import genai_graph
import support
import test_genai

CHECKPOINT = "phimoe-tiny"


class EightBits(unittest.TestCase):
    def test_logits_are_those_of_the_decoded_weights(self):
        out = test_genai.convert(CHECKPOINT, "-p", "int8", "--accuracy-level", "0")
        decoded = test_genai.decoded_folder(CHECKPOINT, out)
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
