"""Checkpoints to MLX folders: mlx_lm.convert's bytes, its generation, transformers' logits; and MLX folders as sources."""
import contextlib
import functools
import io
import json
import os
import pathlib
import struct
import unittest

os.environ["HF_HUB_OFFLINE"] = "1"
import mlx.core as mx
import numpy as np
from mlx_lm.convert import convert as mlx_convert
from mlx_lm.generate import generate_step
from mlx_lm.utils import load, load_model

import genai_graph
import support
import test_genai

mx.set_default_device(mx.cpu)
DATA = support.ROOT / "tests/data/mlx"
LONG_ROPE = ("phi3-tiny", "phi4-tiny", "phimoe-tiny")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
                   "tokenizer.model", "vocab.json", "merges.txt")


def references():
    for file in sorted(DATA.glob("*.json")):
        for name, want in json.loads(file.read_text()).items():
            yield file.stem, name, want


def convert(checkpoint, *options):
    return support.cached(genai_graph.checkpoint(checkpoint), ("--format", "mlx", *options))


def headers(folder):
    """File name -> its header, and where its data begin."""
    for file in sorted(pathlib.Path(folder).glob("*.safetensors")):
        data = file.read_bytes()
        size = struct.unpack("<Q", data[:8])[0]
        yield file.name, json.loads(data[8:8 + size]), data[8 + size:]


def tensors_of(folder):
    """Name -> "type shape digest", as in tests/data/mlx."""
    found = {}
    for _, header, data in headers(folder):
        assert header.pop("__metadata__") == {"format": "mlx"}
        for name, t in header.items():
            begin, end = t["data_offsets"]
            found[name] = f"{t['dtype']} {t['shape']} {genai_graph.digest_of(data[begin:end])}"
    return found


@functools.lru_cache(maxsize=None)
def converted_by_mlx(checkpoint, **options):
    folder = support.scratch("mlx")
    with contextlib.redirect_stdout(io.StringIO()):
        mlx_convert(str(genai_graph.checkpoint(checkpoint)), str(folder), **options)
    return folder


def greedy(folder, prompt, n):
    model, _ = load_model(folder)
    return [int(token) for token, _ in generate_step(mx.array(prompt), model, max_tokens=n)]


def logits(folder, ids):
    model, _ = load_model(folder)
    return np.array(model(mx.array([ids.tolist()])).astype(mx.float32))[0]


def unit_roundoff(folder):
    """Of the type that a folder's model computes in: half a unit in the last place of 1."""
    model, _ = load_model(folder)
    return {mx.bfloat16: 2.0**-8, mx.float16: 2.0**-11}[model(mx.array([[1]])).dtype]


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


def without_groups(config):
    """Mixed recipes of mlx_lm state null for the group, and mean 64; 4 bits for all, and mean the lower ones."""
    config = json.loads(json.dumps(config))
    for key in ("quantization", "quantization_config"):
        for entry in config.get(key, {}).values():
            if isinstance(entry, dict):
                entry["group_size"] = entry["group_size"] or 64
    return config


class Bytes(unittest.TestCase):
    def test_tensors_and_config_are_those_of_the_references(self):
        count = 0
        for checkpoint, name, want in references():
            with self.subTest(checkpoint=checkpoint, option=name):
                folder = convert(checkpoint, *want["options"])
                self.assertEqual(tensors_of(folder), want["tensors"])
                self.assertEqual(config_of(folder), without_groups(want["config"]))
                self.assertEqual(list(config_of(folder)), list(want["config"]))
                count += 1
        self.assertEqual(count, 18)

    def test_every_mode_is_that_of_mlx_lm(self):
        cases = [(f"affine{bits}", {"q_bits": bits}) for bits in (2, 3, 5, 6, 8)]
        cases += [(mode, {"q_mode": mode}) for mode in ("mxfp4", "nvfp4", "mxfp8")]
        cases += [(f"mixed_{r}", {"quant_predicate": f"mixed_{r}"}) for r in ("2_6", "3_4", "3_6", "4_6")]
        for scheme, options in cases:
            for checkpoint in ("phi3-tiny", "phimoe-tiny"):
                with self.subTest(scheme=scheme, checkpoint=checkpoint):
                    want = converted_by_mlx(checkpoint, quantize=True, **options)
                    self.assertEqual(tensors_of(convert(checkpoint, "--scheme", scheme, "--no-protect")), tensors_of(want))
        for group in (32, 128):
            with self.subTest(group=group):
                want = converted_by_mlx("phi4-tiny", quantize=True, q_bits=3, q_group_size=group)
                ours = convert("phi4-tiny", "--scheme", "affine3", "--no-protect", "--block-size", str(group))
                self.assertEqual(tensors_of(ours), tensors_of(want))

    def test_floats_are_those_of_mlx_lm(self):
        for checkpoint in ("phi2-tiny", "phimoe-tiny"):
            for precision, dtype in (("fp16", "float16"), ("bf16", "bfloat16"), ("fp32", "float32")):
                with self.subTest(checkpoint=checkpoint, precision=precision):
                    want = converted_by_mlx(checkpoint, dtype=dtype)
                    ours = convert(checkpoint, "--precision", precision)
                    self.assertEqual(tensors_of(ours), tensors_of(want))
                    self.assertEqual((ours / "config.json").read_bytes(), (want / "config.json").read_bytes())
                    index = "model.safetensors.index.json"
                    self.assertEqual((ours / index).read_bytes(), (want / index).read_bytes())

    def test_tokenizer_files_are_the_checkpoints(self):
        folder, source = convert("phi4-tiny", "--precision", "int4"), genai_graph.checkpoint("phi4-tiny")
        for name in TOKENIZER_FILES + ("generation_config.json",):
            with self.subTest(name=name):
                self.assertEqual((folder / name).exists(), (source / name).exists())
                if (source / name).exists():
                    self.assertEqual((folder / name).read_bytes(), (source / name).read_bytes())

    def test_shards_hold_the_same_tensors(self):
        whole = convert("phi3-tiny", "--precision", "int4")
        shards = convert("phi3-tiny", "--precision", "int4", "--max-file-size", "500K")
        names = [name for name, _, _ in headers(shards)]
        self.assertEqual(names, [f"model-{i + 1:05d}-of-{len(names):05d}.safetensors" for i in range(len(names))])
        self.assertGreater(len(names), 3)
        for name, _, data in headers(shards):
            self.assertLessEqual(len(data), 500_000, name)
        self.assertEqual(tensors_of(shards), tensors_of(whole))
        index = json.loads((shards / "model.safetensors.index.json").read_text())
        for name, header, _ in headers(shards):
            for tensor in header:
                if tensor != "__metadata__":
                    self.assertEqual(index["weight_map"][tensor], name)
        load_model(shards)

    def test_threads_and_simd_change_nothing(self):
        source = genai_graph.checkpoint("phi4-tiny")
        for scheme in ("affine3", "affine6", "nvfp4", "mxfp8"):
            options = ("--format", "mlx", "--scheme", scheme)
            want = support.digest(support.quantize(source, *options, "--threads", "1"))
            for target in ("scalar", "sse4"):
                with self.subTest(scheme=scheme, target=target):
                    ours = support.quantize(source, *options, "--threads", "3", env={"PHIQUANT_SIMD": target})
                    self.assertEqual(support.digest(ours), want)


class Runs(unittest.TestCase):
    def test_generates_what_the_weights_say(self):
        """Against the same weights as float32, on the same machine. That mlx_lm's own conversion has these bytes, Bytes
        tests; which token wins a near tie is the processor's affair (docs/testing.md)."""
        count = 0
        for checkpoint, name, want in references():
            # Rounding sends phimoe-tiny's tokens to other experts.
            if "prompt" not in want or checkpoint == "phimoe-tiny":
                continue
            with self.subTest(checkpoint=checkpoint, option=name):
                folder = convert(checkpoint, *want["options"])
                twin = support.quantize(folder, "--format", "mlx", "--precision", "fp32")
                tokens = greedy(folder, want["prompt"], 32)
                ids = np.array([*want["prompt"], *tokens[:-1]])
                rows, found = (logits(f, ids).astype(np.float64)[-len(tokens):] for f in (twin, folder))
                # Some 24 values a layer follow one another, and each is rounded once. The errors are independent.
                steps = 24 * config_of(folder)["num_hidden_layers"] + 4
                self.assertLess(support.relative_difference([rows], [found]), steps**0.5 * unit_roundoff(folder))
                support.assert_greedy(self, rows, tokens, np.abs(rows - found).max(-1))
                count += 1
        self.assertEqual(count, 13)

    def test_tokenizer_loads(self):
        _, tokenizer = load(str(convert("phi3-tiny", "--precision", "int4", "--no-protect")))
        want = next(w for c, n, w in references() if (c, n) == ("phi3-tiny", "q4-g64"))
        self.assertEqual(tokenizer.encode("And it came to pass", add_special_tokens=False), want["prompt"])

    def test_context_picks_the_rope_factors(self):
        """float32 both ways: what differs is the order of sums, and beyond that the other factors."""
        def difference(folder, recorded, length):
            want = recorded[f"{length}_logits"].astype(np.float64)
            ours = logits(folder, recorded[f"{length}_ids"]).astype(np.float64)
            return support.relative_difference([want], [ours[-len(want):]])

        for checkpoint in LONG_ROPE:
            recorded = np.load(genai_graph.checkpoint(checkpoint) / "logits.npz")
            slack = {length: test_genai.float_slack(checkpoint, len(recorded[f"{length}_ids"]))
                     for length in ("short", "long")}
            for context, exact, other in (("48", "short", "long"), ("512", "short", "long"), ("600", "long", "short")):
                with self.subTest(checkpoint=checkpoint, context=context):
                    folder = convert(checkpoint, "--precision", "fp32", "--context", context)
                    self.assertLess(difference(folder, recorded, exact), slack[exact])
                    self.assertGreater(difference(folder, recorded, other), slack[other])

    def test_without_context_there_is_a_warning(self):
        for checkpoint, expected in (("phi3-tiny", 1), ("phi3-4k-tiny", 0)):
            report = support.report(genai_graph.checkpoint(checkpoint), "-o", support.scratch("x"), "--format", "mlx",
                                    "--precision", "int4", "--dry-run")
            self.assertEqual(len(report["warnings"]), expected, report["warnings"])

    def test_overrides_are_recorded_and_load(self):
        folder = convert("phimoe-tiny", "--precision", "int4", "--lm-head", "int8", "--embeddings", "keep",
                         "--exclude", "*layers.0.self_attn.q_proj*")
        section = config_of(folder)["quantization"]
        self.assertEqual(section["lm_head"], {"group_size": 64, "bits": 8, "mode": "affine"})
        for path in ("model.embed_tokens", "model.layers.0.self_attn.q_proj", "model.layers.0.block_sparse_moe.gate"):
            self.assertIs(section[path], False)
        self.assertEqual(config_of(folder)["quantization_config"], section)
        model, _ = load_model(folder)
        self.assertEqual(model.lm_head.bits, 8)
        self.assertEqual(model.model.layers[1].self_attn.q_proj.bits, 4)
        self.assertFalse(hasattr(model.model.layers[0].self_attn.q_proj, "bits"))
        self.assertFalse(hasattr(model.model.layers[1].block_sparse_moe.gate, "bits"))

    def test_tied_table_gets_the_bits_of_a_head(self):
        folder = convert("phi4-tiny", "--scheme", "mixed_4_6")
        self.assertEqual(config_of(folder)["quantization"]["model.embed_tokens"]["bits"], 6)
        self.assertEqual(len(greedy(folder, [476, 332], 4)), 4)


class Sources(unittest.TestCase):
    def test_folders_decode_to_what_mlx_dequantizes(self):
        """phiquant's float32 of a folder against mlx's, which computes in float32 too when its scales are float32."""
        for scheme in ("affine2", "affine3", "affine5", "affine8", "mxfp4", "nvfp4", "mxfp8"):
            with self.subTest(scheme=scheme):
                folder = convert("phimoe-tiny", "--scheme", scheme)
                floats = support.quantize(folder, "--format", "mlx", "--precision", "fp32")
                base = config_of(folder)["quantization"]
                stored, decoded = {}, {}
                for found, where in ((stored, folder), (decoded, floats)):
                    found.update(mx.load(str(where / "model.safetensors")))
                count = 0
                for name in [n for n in stored if n.endswith(".scales")]:
                    path = name.removesuffix(".scales")
                    scales, biases = stored[name], stored.get(path + ".biases")
                    if biases is not None:
                        scales, biases = scales.astype(mx.float32), biases.astype(mx.float32)
                    want = mx.dequantize(stored[path + ".weight"], scales, biases, group_size=base["group_size"],
                                         bits=base["bits"], mode=base["mode"], dtype=mx.float32)
                    self.assertTrue(mx.array_equal(decoded[path + ".weight"], want), path)
                    count += 1
                self.assertGreater(count, 10)

    def test_other_formats_take_them(self):
        folder = convert("phi3-tiny", "--precision", "int8")
        onnx_folder = support.quantize(folder, "--precision", "fp32", "--format", "onnx")
        source = genai_graph.checkpoint("phi3-tiny")
        compared = json.loads(support.run("compare", source, onnx_folder, "--json").stdout)
        self.assertGreater(compared["total_sqnr_db"], 40)
        again = json.loads(support.run("compare", folder, onnx_folder, "--json", "--fail-below-sqnr", "200").stdout)
        self.assertGreater(len(again["pairs"]), 10)


if __name__ == "__main__":
    unittest.main()
