"""Plain models of one sequence length: what QNN takes, and any other runtime without dynamic shapes."""
import unittest

import numpy as np
import onnx

import genai_graph
import support
import test_genai

CHECKPOINTS = test_genai.CHECKPOINTS


def dynamic(checkpoint, *options):
    return support.cached(genai_graph.checkpoint(checkpoint), ("--format", "onnx", *options))


def fixed(checkpoint, n_tokens, *options):
    return support.cached(genai_graph.checkpoint(checkpoint), ("--sequence-length", str(n_tokens), *options))


def shape_of(value):
    return [d.dim_value for d in value.type.tensor_type.shape.dim]


class FixedShapes(unittest.TestCase):
    def test_every_shape_is_known_before_the_run(self):
        for checkpoint in CHECKPOINTS:
            model = support.load(fixed(checkpoint, 48, "--format", "onnx", "-p", "fp32"))
            onnx.checker.check_model(model)
            inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
            vocab = test_genai.config_of(checkpoint)["vocab_size"]
            self.assertEqual([shape_of(v) for v in inferred.input], [[1, 48]], checkpoint)
            self.assertEqual([shape_of(v) for v in inferred.output], [[1, 48, vocab]], checkpoint)
            known = {v.name for v in (*inferred.value_info, *inferred.output) if all(d > 0 for d in shape_of(v))}
            computed = {o for n in inferred.node for o in n.output}
            self.assertEqual(sorted(computed - known), [], checkpoint)
            self.assertEqual([n.op_type for n in inferred.node if n.op_type in ("Shape", "If", "Range", "Where")
                              and test_genai.config_of(checkpoint)["model_type"] != "phimoe"], [], checkpoint)

    def test_logits_are_those_of_the_model_of_any_length(self):
        for checkpoint in CHECKPOINTS:
            for prompt in ("short", "long"):     # both rope branches
                ids = test_genai.recorded(checkpoint)[f"{prompt}_ids"]
                with self.subTest(checkpoint=checkpoint, prompt=prompt):
                    wanted = test_genai.plain_logits(dynamic(checkpoint, "-p", "fp32"), ids)
                    got = test_genai.plain_logits(fixed(checkpoint, len(ids), "--format", "onnx", "-p", "fp32"), ids)
                    difference = support.relative_difference([wanted], [got])
                    self.assertLess(difference, test_genai.float_slack(checkpoint, len(ids)))

    def test_standard_operators_only_with_qdq(self):
        for checkpoint in CHECKPOINTS:
            out = fixed(checkpoint, 48, "--format", "onnx", "-p", "int4", "--style", "qdq")
            model = onnx.load(str(out / "model.onnx"), load_external_data=False)
            self.assertEqual({n.domain for n in model.graph.node}, {""}, checkpoint)
            self.assertEqual([shape_of(v) for v in model.graph.input], [[1, 48]], checkpoint)

    def test_the_npus_model_computes_what_its_weights_say(self):
        """Float16 arithmetic on the float graph with the decoded 4-bit weights, within what float16 can round."""
        for checkpoint in CHECKPOINTS:
            ids = test_genai.recorded(checkpoint)["short_ids"]
            out = fixed(checkpoint, len(ids), "-p", "int4", "--target", "qnn")
            model = support.load(out)
            onnx.checker.check_model(model)
            nodes = [n for n in model.graph.node if n.domain]
            self.assertEqual({n.op_type for n in nodes}, {"MatMulNBits"}, checkpoint)
            for node in nodes:
                a = support.attributes(node)
                self.assertEqual((a["bits"], a["block_size"], len(node.input)), (4, 32, 3), node.name)
            if checkpoint == "phimoe-tiny":
                continue                         # a rounding error can send a token to another expert
            floats = support.quantize(out, "-p", "fp32")
            wanted = test_genai.plain_logits(floats, ids)
            got = test_genai.plain_logits(out, ids)
            # Every value of the deepest path is rounded to 11 bits once, and passes on what it was given.
            config = test_genai.config_of(checkpoint)
            steps = 24 * config["num_hidden_layers"] + 4
            self.assertLess(support.relative_difference([wanted], [got]), steps * 2.0**-11, checkpoint)


if __name__ == "__main__":
    unittest.main()
