"""Phi-3-small in plain ONNX and MLX against the numpy reference and mlx_lm.convert; and where it is refused."""
import contextlib
import io
import json
import pathlib
import unittest

import mlx.core as mx
import numpy as np
from mlx_lm.convert import convert as mlx_convert
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import load_model

import genai_graph
import support
import test_mlx
import test_phi3small as base


def convert(variant, *options):
    return base.convert(variant, *options)


def linked(folder, *names):
    """A folder of links to the named files, or all, of another."""
    links = support.scratch("linked")
    links.mkdir()
    for file in pathlib.Path(folder).iterdir():
        if not names or file.name in names:
            (links / file.name).symlink_to(file.resolve())
    return links


class PlainOnnx(unittest.TestCase):
    """Standard operators alone, without a cache: every variant of the pattern, in both rotary branches."""

    def check(self, folder, variant, tokens):
        session = support.open_session(folder)
        got = session.run(["logits"], {"input_ids": np.asarray([base.IDS[:tokens]], np.int64)})[0][0]
        self.assertLess(base.worst(base.wanted(variant, tokens), base.some(got)), base.float_slack(tokens))

    def test_any_length(self):
        for variant in base.VARIANTS:
            folder = convert(variant, "-p", "fp32", "--format", "onnx")
            domains = {n.domain for n in support.load(folder).graph.node}
            self.assertEqual(domains, {""})
            for tokens in (33, 300):
                with self.subTest(variant=variant, tokens=tokens):
                    self.check(folder, variant, tokens)

    def test_fixed_length(self):
        for variant in base.VARIANTS:
            with self.subTest(variant=variant):
                folder = convert(variant, "-p", "fp32", "--format", "onnx", "--sequence-length", "300")
                self.check(folder, variant, 300)


class Mlx(unittest.TestCase):
    def test_bytes_are_those_of_mlx_lm(self):
        cases = ((("-p", "int4"), {"quantize": True}), (("-p", "int8"), {"quantize": True, "q_bits": 8}),
                 (("--scheme", "mixed_4_6"), {"quantize": True, "quant_predicate": "mixed_4_6"}),
                 (("--scheme", "mxfp4"), {"quantize": True, "q_mode": "mxfp4"}), (("-p", "fp16"), {"dtype": "float16"}))
        # mlx_lm converts nothing without a tokenizer; which one does not matter here.
        source = linked(base.checkpoint("8k"))
        for file in linked(genai_graph.checkpoint("phi2-tiny"), "tokenizer.json", "tokenizer_config.json").iterdir():
            (source / file.name).symlink_to(file.resolve())
        for ours, theirs in cases:
            with self.subTest(options=ours):
                wanted = support.scratch("mlx")
                with contextlib.redirect_stdout(io.StringIO()):
                    mlx_convert(str(source), str(wanted), **theirs)
                got = convert("8k", "--format", "mlx", *ours, *(() if ours[1] == "fp16" else ("--no-protect",)))
                self.assertEqual(test_mlx.tensors_of(got), test_mlx.tensors_of(wanted))
                config = test_mlx.without_groups(test_mlx.config_of(wanted))
                del config["auto_map"]  # of Python code that is not in the folder
                self.assertEqual(test_mlx.config_of(got), config)

    def test_logits(self):
        # One token at a time: see test_phi3small.Reference for what mlx_lm makes of a prompt.
        model, _ = load_model(convert("8k", "--format", "mlx", "-p", "fp32"))
        cache = make_prompt_cache(model)
        got = np.concatenate([base.some(np.array(model(mx.array([[i]]), cache=cache))[0]) for i in base.IDS[:100]])
        self.assertLess(base.worst(base.wanted("8k", 100), got), base.float_slack(100))

    def test_the_user_hears_what_mlx_lm_makes_of_prompts(self):
        warnings = support.report(base.checkpoint("8k"), "-o", support.scratch("out"), "--dry-run", "-p", "int4",
                                  "--format", "mlx")["warnings"]
        self.assertIn("computes prompts of this model wrongly", "\n".join(warnings))

    def test_back_to_a_checkpoint(self):
        """An MLX folder is read as its source was: the same GenAI folder comes of both."""
        again = support.quantize(convert("8k", "--format", "mlx", "-p", "bf16"), "-p", "int4")
        self.assertEqual(support.digest(again / "model.onnx.data"),
                         support.digest(convert("8k", "-p", "int4") / "model.onnx.data"))


class Refused(unittest.TestCase):
    def refusal(self, folder, *options):
        done = support.run("quantize", folder, "-o", support.scratch("out"), "-p", "int4", *options, check=False)
        self.assertEqual(done.returncode, 4)
        return done.stderr

    def test_llama_cpp_has_no_such_model(self):
        self.assertIn("llama.cpp has no architecture with a block like that of Phi3SmallForCausalLM",
                      self.refusal(base.checkpoint("8k"), "--format", "gguf"))

    def test_what_mlx_lms_class_computes_otherwise(self):
        self.assertIn("has no rotary factors for long contexts", self.refusal(base.checkpoint("128k"), "--format", "mlx"))
        self.assertIn("computes another pattern of blocks", self.refusal(base.checkpoint("homo"), "--format", "mlx"))
        other = linked(base.checkpoint("8k"))
        config = json.loads((other / "config.json").read_text()) | {"dense_attention_every_n_layers": 3}
        (other / "config.json").unlink()
        (other / "config.json").write_text(json.dumps(config))
        self.assertIn("computes another pattern of blocks", self.refusal(other, "--format", "mlx", "--follow-symlinks"))


if __name__ == "__main__":
    unittest.main()
