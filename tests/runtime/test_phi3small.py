"""Phi-3-small: the numpy reference against mlx-lm's model, and our folders against the reference."""
import functools
import json
import sys
import unittest
from unittest import mock

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import onnx
import onnxruntime as ort
import onnxruntime_genai as og
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import load_model
from onnx import numpy_helper

import genai_graph
import phi3small
import support

sys.path.insert(0, str(support.ROOT / "tests/data/checkpoints"))
import make_phi3small as maker  # noqa: E402

HASHES = support.ROOT / "tests/data/genai/phi3small.json"
VARIANTS = {"8k": {}, "128k": {"longrope": True}, "homo": {"homo_heads": True}}
# Begin and length: far from the original context, across it, past it.
PROMPTS = {"8k": ((8, 20), (8, 270)), "128k": ((4, 20), (4, 230), (24, 270))}
IDS = [int(i) for i in np.random.default_rng(1).integers(0, min(maker.DUMMY_TOKENS), maker.CONTEXT)]


@functools.lru_cache(maxsize=None)
def checkpoint(variant, dtype="bf16"):
    return maker.make(support.scratch("checkpoint"), dtype=dtype, **VARIANTS[variant])


@functools.lru_cache(maxsize=None)
def reference(variant):
    return phi3small.Model(checkpoint(variant))


@functools.lru_cache(maxsize=None)
def wanted(variant, tokens, prompt=None):
    """The reference's logits of the first `tokens` of IDS."""
    return some(reference(variant).logits(IDS[:tokens], prompt))


def some(logits):
    """Every 13th of the tokens in use: enough to compare, and a thousand positions fit into memory."""
    return logits[:, :min(maker.DUMMY_TOKENS):13].astype(np.float64)


def float_slack(keys):
    """As in test_genai: roundings of float sums along the deepest path, relative to the norm."""
    layer = 2 * maker.HIDDEN + maker.HEAD + keys + 2 * maker.HIDDEN + maker.FFN + 2 * maker.HIDDEN
    return (maker.LAYERS * layer + maker.HIDDEN) * 2.0**-24


def worst(want, got):
    """The largest relative difference of any position's logits."""
    return (np.linalg.norm(want - got, axis=1) / np.linalg.norm(want, axis=1)).max()


class Reference(unittest.TestCase):
    """mlx-lm computes the model without rotary factors. It is right one token at a time. Of a prompt its layers with
    blocks add a mask of bools to the scores, which hides nothing, and count blocks from the prompt's end; so prompts get a
    mask of floats here and are whole blocks long."""

    @classmethod
    def setUpClass(cls):
        cls.model, _ = load_model(checkpoint("8k", "f32"))

    def mlx_logits(self, ids, cache=None):
        return some(np.array(self.model(mx.array([ids]), cache=cache))[0])

    def test_single_tokens(self):
        cache = make_prompt_cache(self.model)
        got = np.concatenate([self.mlx_logits([i], cache) for i in IDS[:200]])
        self.assertLess(worst(wanted("8k", 200), got), float_slack(200))

    def test_prompts(self):
        def additive(h, *_args, **_options):
            return nn.MultiHeadAttention.create_additive_causal_mask(h.shape[1])
        with mock.patch("mlx_lm.models.phi3small.create_attention_mask", additive):
            for tokens in (32, 64, 96, 320):
                with self.subTest(tokens=tokens):
                    self.assertLess(worst(wanted("8k", tokens), self.mlx_logits(IDS[:tokens])), float_slack(tokens))

    def test_dummy_tokens_are_mlx_lms(self):
        row = np.array(self.model(mx.array([IDS[:1]])))[0, 0]
        self.assertEqual(list(np.flatnonzero(np.isneginf(row))), phi3small.dummy_tokens(maker.VOCAB))

    def test_all_that_the_checkpoint_is_meant_to_show_matters(self):
        model = reference("8k")
        dense = phi3small.Model(checkpoint("8k"), dense=True)
        self.assertGreater(worst(wanted("8k", 128), some(dense.logits(IDS[:128]))), 0.5)
        self.assertEqual(model.unused, set())                    # every tensor of the checkpoint took part
        changes = {"layer_norm_epsilon": 1e-5, "gegelu_limit": 4.5, "mup_attn_multiplier": 1.0, "mup_embedding_multiplier": 10.0,
                   "blocksparse_vert_stride": 4, "blocksparse_num_local_blocks": 1, "blocksparse_homo_head_pattern": True,
                   "rope_embedding_base": 10000, "dense_attention_every_n_layers": 3, "mup_use_scaling": False}
        for key, value in changes.items():
            with self.subTest(key=key):
                self.assertNotEqual(model.config[key], value)
                with mock.patch.dict(model.config, {key: value}):
                    self.assertGreater(worst(wanted("8k", 128), some(model.logits(IDS[:128]))), 0.01)



@functools.lru_cache(maxsize=None)
def convert(variant, *options):
    return support.cached(checkpoint(variant), options)


def open_cached(folder):
    """A function from ids, given in steps, to the logits of all. SparseAttention wants the cache in one place, before and
    after a step, and as long as it may ever get."""
    session = support.open_session(folder)

    def run(*steps):
        caches = {i.name: np.zeros((1, maker.KV_HEADS, maker.CONTEXT, maker.HEAD), np.float32)
                  for i in session.get_inputs() if i.name.startswith("past_key_values.")}
        caches = {name: ort.OrtValue.ortvalue_from_numpy(zeros) for name, zeros in caches.items()}
        out, done = [], 0
        for ids in steps:
            done += len(ids)
            binding = session.io_binding()
            binding.bind_cpu_input("input_ids", np.asarray([ids], np.int64))
            binding.bind_cpu_input("attention_mask", np.ones((1, done), np.int64))
            binding.bind_output("logits")
            for name, cache in caches.items():
                binding.bind_ortvalue_input(name, cache)
                binding.bind_ortvalue_output(name.replace("past_key_values", "present"), cache)
            session.run_with_iobinding(binding)
            out.append(binding.get_outputs()[0].numpy()[0])
        return np.concatenate(out)
    return run


def decoded_folder(variant, out):
    """The float graph of a variant with the weights that the codes of `out` stand for."""
    quantized = support.Graph(support.load(out))
    weights = {n.input[1].rsplit("_Q", 1)[0]: support.decode_nbits(quantized, n)
               for n in quantized.model.graph.node if n.op_type == "MatMulNBits"}
    plain = support.load(convert(variant, "-p", "fp32"))
    for tensor in plain.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(numpy_helper.from_array(weights.pop(tensor.name), tensor.name))
    if weights:
        raise AssertionError(f"the float graph has no {sorted(weights)}")
    decoded = support.scratch("decoded")
    decoded.mkdir()
    onnx.save(plain, str(decoded / "model.onnx"))
    return decoded


class Folders(unittest.TestCase):
    """What `quantize` makes, in ONNX Runtime and onnxruntime-genai."""

    def test_logits(self):
        # 48 tokens see all of their past; 300 take several blocks, and of "128k" more than the original context.
        for variant in VARIANTS:
            run = open_cached(convert(variant, "-p", "fp32"))
            for tokens in (48, 300):
                with self.subTest(variant=variant, tokens=tokens):
                    got = run(IDS[:tokens])
                    self.assertLess(worst(wanted(variant, tokens), some(got)), float_slack(tokens))
                    dummies = got[:, maker.DUMMY_TOKENS]
                    self.assertTrue((dummies == phi3small.LOWEST).all())

    def test_single_tokens(self):
        """From 95 on, into a new block, and from 250 on, past the original context of "128k"."""
        for variant in ("8k", "128k"):
            run = open_cached(convert(variant, "-p", "fp32"))
            for prompt in (95, 250):
                with self.subTest(variant=variant, prompt=prompt):
                    got = run(IDS[:prompt], *([i] for i in IDS[prompt:prompt + 12]))
                    self.assertLess(worst(wanted(variant, prompt + 12, prompt), some(got)), float_slack(prompt + 12))

    def test_greedy_tokens(self):
        for variant, prompts in PROMPTS.items():
            for begin, length in prompts:
                with self.subTest(variant=variant, prompt=length):
                    prompt = IDS[begin:begin + length]
                    tokens, gaps = reference(variant).greedy(prompt, 64)
                    # Two logits that float arithmetic could swap decide nothing; their size here is about 0.2.
                    self.assertGreater(min(gaps), 2 * 0.2 * float_slack(length + 64))
                    self.assertGreater(len(set(tokens)), 16)
                    self.assertEqual(genai_graph.greedy(convert(variant, "-p", "fp32"), prompt), tokens)

    def test_turns_and_batches(self):
        model = og.Model(str(convert("8k", "-p", "fp32")))

        def generator(**options):
            params = og.GeneratorParams(model)
            params.set_search_options(max_length=200, do_sample=False, **options)
            return og.Generator(model, params)

        chat = generator()
        for turn in (IDS[:50], IDS[60:110]):                     # the second one into a cache that is not empty
            chat.append_tokens(np.array([turn], np.int32))
            chat.generate_next_token()
            *before, last = (int(t) for t in chat.get_sequence(0))
            self.assertEqual(last, int(reference("8k").logits(before, last=True)[0].argmax()))
        self.assertEqual(len(before), 101)
        prompts = [IDS[:90], IDS[100:190]]
        both = generator(batch_size=2)
        both.append_tokens(np.array(prompts, np.int32))
        for _ in range(8):
            both.generate_next_token()
        for i, prompt in enumerate(prompts):
            tokens, gaps = reference("8k").greedy(prompt, 8)
            self.assertGreater(min(gaps), 2 * 0.2 * float_slack(98))
            self.assertEqual([int(t) for t in both.get_sequence(i)][90:], tokens)

    def test_codes_compute_what_they_say(self):
        for variant in ("8k", "128k"):
            for options in (("-p", "int4"), ("-p", "int4", "--asymmetric"), ("-p", "int8")):
                out = convert(variant, *options, "--accuracy-level", "1")
                run, run_decoded = open_cached(out), open_cached(decoded_folder(variant, out))
                for tokens in (48, 300):
                    with self.subTest(variant=variant, options=options, tokens=tokens):
                        self.assertLess(worst(some(run_decoded(IDS[:tokens])), some(run(IDS[:tokens]))), float_slack(tokens))

    def test_every_default_generates(self):
        for variant in VARIANTS:
            for precision in ("int4", "int8"):
                with self.subTest(variant=variant, precision=precision):
                    tokens = genai_graph.greedy(convert(variant, "-p", precision), IDS[:100], 8)
                    self.assertEqual(len(tokens), 8)
                    self.assertEqual(set(tokens) & set(maker.DUMMY_TOKENS), set())

    def test_dry_run_says_the_exact_sizes(self):
        for variant in VARIANTS:
            for precision in ("int4", "int8", "fp32"):
                with self.subTest(variant=variant, precision=precision):
                    planned = support.report(checkpoint(variant), "-o", support.scratch("out"), "--dry-run", "-p", precision)
                    self.assertEqual({f["path"]: f["size_bytes"] for f in planned["files"]},
                                     support.files_of(convert(variant, "-p", precision)))

    def test_compare_knows_every_linear(self):
        linears = {f"model.layers.{i}.{name}" for i in range(maker.LAYERS) for name in
                   ("mlp.up_proj.weight", "mlp.down_proj.weight", "self_attn.dense.weight",
                    *(f"self_attn.query_key_value.weight[{c}]" for c in "qkv"))}
        for precision, least, most in (("int4", 18, 26), ("int8", 40, 50), ("fp32", None, None)):
            with self.subTest(precision=precision):
                done = support.run("compare", checkpoint("8k"), convert("8k", "-p", precision), "--json")
                pairs = {p["name"]: p["error"] for p in json.loads(done.stdout)["pairs"]
                         if ".weight" in p["name"] and "norm" not in p["name"]}
                self.assertEqual(set(pairs), linears | {"model.embed_tokens.weight"})
                for name in linears:
                    if least is None:
                        self.assertTrue(pairs[name]["exact"], name)
                    else:
                        self.assertTrue(least < pairs[name]["sqnr_db"] < most, f"{name}: {pairs[name]['sqnr_db']}")


class Builder(unittest.TestCase):
    """--recipe builder against what the model builder wrote (tests/data/genai/make_phi3small_hashes.py)."""

    def each(self, check):
        for variant, targets in json.loads(HASHES.read_text()).items():
            for target, entry in targets.items():
                with self.subTest(variant=variant, target=target):
                    check(convert(variant, "--recipe", "builder", *entry["options"]), entry)

    def test_every_tensor_has_the_builders_bytes(self):
        def check(out, entry):
            ours = {k: genai_graph.digest_of(v) for k, v in genai_graph.tensors(support.load(out)).items()
                    if not genai_graph.is_rope_table(k)}
            self.assertEqual(ours, entry["tensors"])
        self.each(check)

    def test_genai_config_is_the_builders(self):
        self.each(lambda out, entry: self.assertEqual(json.loads((out / "genai_config.json").read_text()), entry["config"]))


if __name__ == "__main__":
    unittest.main()
