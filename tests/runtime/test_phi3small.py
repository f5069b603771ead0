"""Phi-3-small: the numpy reference against mlx-lm's model, and our folders against the reference."""
import functools
import sys
import unittest
from unittest import mock

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import load_model

import phi3small
import support

sys.path.insert(0, str(support.ROOT / "tools"))
import make_phi3small_checkpoint as maker  # noqa: E402

VARIANTS = {"8k": {}, "128k": {"longrope": True}, "homo": {"homo_heads": True}}
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


if __name__ == "__main__":
    unittest.main()
