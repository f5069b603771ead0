"""GGUF files in llama.cpp: bytes and metadata of its own tools, its tokenizer, logits."""
import functools
import hashlib
import json
import shutil
import struct
import unittest

import gguf
import numpy as np
from tokenizers import Tokenizer

import genai_graph
import llama
import support
import test_genai

DATA = support.ROOT / "tests/data/gguf"
CHECKPOINTS = ("phi3-tiny", "phi4-tiny", "phi3-4k-tiny", "phi2-tiny", "phimoe-tiny")
# Keys whose values differ from the converter's, with the reason; docs/formats.md has them too.
DIFFERENT = {
    # config.json states the factor (mscale); the converter computes Phi-3's formula instead.
    "phimoe.rope.scaling.attn_factor",
    # A path on the computer of whoever ran the tool.
    "quantize.imatrix.file",
}
TEXTS = {
    "prose": (support.ROOT / "examples/phi3-tiny/eval.txt").read_text(),
    "odd": "  two  spaces\n\n\n\ttabs\t\tI'll WE'RE can't\r\n1234567 3.14 ... 日本語 🚀👩‍👩‍👧 end   \n   x",
}


@functools.lru_cache(maxsize=None)
def reference(checkpoint):
    return json.loads((DATA / f"{checkpoint}.json").read_text())


def quantize(folder, *options):
    return support.quantize(folder, "--format", "gguf", *options, out=support.scratch("model.gguf"))


@functools.lru_cache(maxsize=None)
def convert(checkpoint, *options):
    return quantize(genai_graph.checkpoint(checkpoint), *options)


def options_of(run):
    """The command-line options for a run of llama-quantize or of the converter, by its recorded name."""
    if run.startswith("convert-"):
        return ("--scheme", run.removeprefix("convert-"), "--via-f16") if run == "convert-q8_0" else \
            ("--scheme", run.removeprefix("convert-"))
    kind = run.removesuffix("-imatrix").lower()
    options = ("--scheme", kind, "--via-f16")
    return options + (("--imatrix", str(DATA / "phi3-tiny-imatrix.gguf")) if run.endswith("-imatrix") else ())


def metadata(path):
    rows = []
    for key, field in gguf.GGUFReader(path).fields.items():
        if key.startswith("GGUF."):
            continue
        value = field.contents()
        if isinstance(value, list):
            text = json.dumps(value, ensure_ascii=False)
            value = {"length": len(value), "sha256": hashlib.sha256(text.encode()).hexdigest()}
        rows.append([key, int(field.types[0]), value])
    return rows


def tensors(path):
    return {t.name: [t.tensor_type.name, [int(n) for n in t.shape],
                     hashlib.sha256(np.ascontiguousarray(t.data).tobytes()).hexdigest()]
            for t in gguf.GGUFReader(path).tensors}


class Files(unittest.TestCase):
    maxDiff = 2000

    def test_metadata_is_the_converters(self):
        for checkpoint in CHECKPOINTS:
            with self.subTest(checkpoint):
                wanted = [row for row in reference(checkpoint)["metadata"] if row[0] not in DIFFERENT]
                found = metadata(convert(checkpoint, "--scheme", "f16"))
                self.assertEqual([row for row in found if row[0] not in DIFFERENT], wanted)
                self.assertEqual({row[0] for row in found}, {row[0] for row in reference(checkpoint)["metadata"]})

    def test_every_recorded_file(self):
        """Tensors byte for byte, and the keys that quantizing changes."""
        for checkpoint in CHECKPOINTS:
            for run, wanted in reference(checkpoint)["files"].items():
                with self.subTest(f"{checkpoint} {run}"):
                    path = convert(checkpoint, *options_of(run))
                    self.assertEqual(tensors(path), wanted["tensors"])
                    found = {key: value for key, _, value in metadata(path)}
                    for key, value in wanted["keys"].items():
                        if key not in DIFFERENT:
                            self.assertEqual(found.get(key), value, key)
                    rest = {key: value for key, _, value in reference(checkpoint)["metadata"]}
                    self.assertEqual(set(found), set(rest) | set(wanted["keys"]))
                    for key in set(rest) - set(wanted["keys"]) - DIFFERENT:
                        self.assertEqual(found[key], rest[key], key)

    def test_an_expert_models_factor_is_the_configs(self):
        config = json.loads((genai_graph.checkpoint("phimoe-tiny") / "config.json").read_text())
        found = {key: value for key, _, value in metadata(convert("phimoe-tiny", "--scheme", "f16"))}
        self.assertEqual(found["phimoe.rope.scaling.attn_factor"], np.float32(config["rope_scaling"]["long_mscale"]))


class Tokenizers(unittest.TestCase):
    def test_ids_are_those_of_tokenizer_json(self):
        for checkpoint in ("phi3-tiny", "phi4-tiny", "phi2-tiny"):
            known = Tokenizer.from_file(str(genai_graph.checkpoint(checkpoint) / "tokenizer.json"))
            with llama.Model(convert(checkpoint, "--scheme", "q8_0")) as model:
                for name, text in TEXTS.items():
                    with self.subTest(f"{checkpoint} {name}"):
                        ids = known.encode(text, add_special_tokens=False).ids
                        self.assertEqual(model.tokenize(text), ids)
                        if name == "prose":  # Phi-2's spaces before full stops are cleaned up, here and there
                            self.assertEqual(model.detokenize(ids).lstrip(" "), text.lstrip(" "))

    def test_special_tokens(self):
        #                          bos   eos   eot   pad    the last two: what llama.cpp finds by the tokens' texts
        for checkpoint, wanted in {"phi3-tiny": (1, 2000, [2007], 2000), "phi4-tiny": (2000, 2000, [2003], 2000),
                                   "phi2-tiny": (2000, 2000, [], -1)}.items():
            with self.subTest(checkpoint), llama.Model(convert(checkpoint, "--scheme", "q8_0")) as model:
                bos, eos, ends, pad = wanted
                self.assertEqual([model.special(n) for n in ("bos", "eos", "pad")], [bos, eos, pad])
                for token in (eos, *ends):
                    self.assertTrue(model.ends_turn(token), token)
                template = model.metadata("tokenizer.chat_template")
                config = json.loads((genai_graph.checkpoint(checkpoint) / "tokenizer_config.json").read_text())
                self.assertEqual(template, config.get("chat_template"))

    def test_a_sentencepiece_model_from_tokenizer_json_alone(self):
        folder = support.scratch("phi3-tiny")
        shutil.copytree(genai_graph.checkpoint("phi3-tiny"), folder)
        (folder / "tokenizer.model").unlink()
        self.assertEqual(metadata(quantize(folder, "--scheme", "f16")),
                         metadata(convert("phi3-tiny", "--scheme", "f16")))

    def test_a_name_with_phi3_in_it_and_another_vocabulary(self):
        """llama.cpp looks for Phi-3's tokens where general.name says so, and fails without them."""
        folder = support.scratch("phi3-tuned")
        shutil.copytree(genai_graph.checkpoint("phi4-tiny"), folder)
        path = quantize(folder, "--scheme", "q8_0")
        with llama.Model(path) as model:
            name = model.metadata("general.name")
            self.assertEqual(name, "Phi 3 Tuned")
            known = Tokenizer.from_file(str(folder / "tokenizer.json"))
            self.assertEqual(model.tokenize(TEXTS["odd"]), known.encode(TEXTS["odd"], add_special_tokens=False).ids)
        # The same file under the name that the converter would give it.
        raw = path.read_bytes()
        key = b"general.name" + struct.pack("<I", 8)
        at = raw.index(key) + len(key)
        trap = path.with_name("trap.gguf")
        trap.write_bytes(raw[:at] + struct.pack("<Q", len(name)) + b"Phi3-Tuned!"[:len(name)] + raw[at + 8 + len(name):])
        with self.assertRaisesRegex(llama.LoadError, "at"):
            llama.Model(trap)


class Sources(unittest.TestCase):
    def test_tokenizer_files_made_of_the_vocabulary(self):
        """GGUF to GenAI: the folder encodes text as the original's tokenizer does, and generates the same."""
        import onnxruntime_genai as genai
        for checkpoint in ("phi3-tiny", "phi4-tiny", "phi2-tiny"):
            original = genai_graph.checkpoint(checkpoint)
            direct = support.cached(original, ("-p", "fp32"))
            made = support.quantize(convert(checkpoint, "--scheme", "f32"), "--format", "genai", "-p", "fp32")
            with self.subTest(checkpoint):
                tokenizers = [Tokenizer.from_file(str(folder / "tokenizer.json")) for folder in (original, made)]
                for text in TEXTS.values():
                    wanted, found = (t.encode(text, add_special_tokens=True).ids for t in tokenizers)
                    self.assertEqual(found, wanted)
                    self.assertEqual(tokenizers[1].decode(found), tokenizers[0].decode(wanted))
                texts = []
                for folder in (direct, made):
                    model = genai.Model(str(folder))
                    tokenizer = genai.Tokenizer(model)
                    ids = tokenizer.encode("And it came to pass,  that he said unto him: I'll go")
                    parameters = genai.GeneratorParams(model)
                    parameters.set_search_options(max_length=len(ids) + 16, do_sample=False)
                    generator = genai.Generator(model, parameters)
                    generator.append_tokens(ids)
                    while not generator.is_done():
                        generator.generate_next_token()
                    texts.append(tokenizer.decode(generator.get_sequence(0)))
                self.assertEqual(texts[1], texts[0])

    def test_sentencepiece_merges_are_found_from_the_scores(self):
        made = support.quantize(convert("phi3-tiny", "--scheme", "q8_0"), "--format", "genai", "-p", "int8")
        known, found = (json.loads((folder / "tokenizer.json").read_text())["model"]["merges"]
                        for folder in (genai_graph.checkpoint("phi3-tiny"), made))
        self.assertEqual(found, known)


def float16_rounding(n_layers):
    """The relative norm by which logits move where llama.cpp rounds to 11 bits: the inputs of four products a layer and
    of the head, keys, values, and the weights of the values. Each adds 2^-11 at most and passes on what it was given.
    """
    return (7 * n_layers + 1) * 2.0**-11


def n_layers(checkpoint):
    return test_genai.config_of(checkpoint)["num_hidden_layers"]


class Runtime(unittest.TestCase):
    def test_f16_logits_are_those_of_transformers(self):
        for checkpoint in CHECKPOINTS:
            recorded, bound = test_genai.recorded(checkpoint), float16_rounding(n_layers(checkpoint))
            with llama.Model(convert(checkpoint, "--scheme", "f16")) as model:
                # It takes the short or the long rope factors by the size of the context, once.
                for part, n_ctx in (("short", 512), ("long", 1024)):
                    wanted = recorded[f"{part}_logits"]
                    found = model.logits(recorded[f"{part}_ids"], n_ctx, len(wanted))
                    with self.subTest(f"{checkpoint} {part}"):
                        if checkpoint == "phimoe-tiny":
                            # Its router is another one: no mixer, two weights that add up to one. That the same
                            # token comes first far more often than by chance (1 of 2048) is all one can ask.
                            self.assertGreater((found.argmax(1) == wanted.argmax(1)).mean(), 0.25)
                            continue
                        self.assertLess(support.relative_difference([wanted], [found.astype(np.float64)]), bound)
                        support.assert_greedy(self, wanted, found.argmax(1), support.logit_error(wanted, bound))

    def test_every_scheme_computes_what_its_codes_say(self):
        """Each type against the same weights as f32, on the same machine."""
        ids = np.load(support.ROOT / "tests/data/eval_ids.npy")[:256]
        products = 4 * n_layers("phi3-tiny") + 1
        # What its kernels round activations to: 8 bits in blocks of 32, or of 256 for the K types; bf16 beside bf16.
        rounding = {"bf16": products * 2.0**-8, "q8_0": support.eight_bit_rounding(products, 32),
                    "q4_0": support.eight_bit_rounding(products, 32)}
        others = float16_rounding(n_layers("phi3-tiny"))
        lost = {}
        floats = self.logits(convert("phi3-tiny", "--scheme", "f32"), ids)
        for scheme in ("bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "iq4_xs", "q4_0", "q3_k_m", "q2_k"):
            path = convert("phi3-tiny", "--scheme", scheme)
            wanted, found = self.logits(quantize(path, "--scheme", "f32"), ids), self.logits(path, ids)
            bound = rounding.get(scheme, support.eight_bit_rounding(products, 256)) + others
            with self.subTest(scheme):
                self.assertLess(support.relative_difference([wanted], [found]), bound)
            lost[scheme] = support.relative_difference([floats], [wanted])
        # bf16 loses nothing of this checkpoint; beyond it, the fewer the bits the more is lost.
        self.assertEqual(list(lost), sorted(lost, key=lost.get))
        self.assertEqual(lost["bf16"], 0)
        self.assertGreater(lost["q8_0"], 0)

    def logits(self, path, ids):
        with llama.Model(path) as model:
            return model.logits(ids, len(ids)).astype(np.float64)

    def test_experts_and_other_layouts_load(self):
        for checkpoint in ("phimoe-tiny", "phi2-tiny", "phi3-4k-tiny", "phi4-tiny"):
            for scheme in ("q4_k_m", "q4_0"):
                with self.subTest(f"{checkpoint} {scheme}"), llama.Model(convert(checkpoint, "--scheme", scheme)) as model:
                    ids = np.load(genai_graph.checkpoint(checkpoint) / "logits.npz")["short_ids"]
                    self.assertTrue(np.isfinite(model.logits(ids, 512)).all())


if __name__ == "__main__":
    unittest.main()
