"""Phi-3-small's .tiktoken file: the tokenizer.json made of it gives tiktoken's ids in the runtimes that read it."""
import base64
import functools
import inspect
import json
import random
import re
import sys
import unittest

import onnxruntime_genai as og
import tiktoken
from mlx_lm.utils import load_tokenizer
from tiktoken_ext import openai_public
from tokenizers import Tokenizer
from transformers import AutoTokenizer

import support

DATA = support.ROOT / "tests/data/tiktoken"
sys.path[:0] = [str(support.ROOT / "tests/data/checkpoints"), str(DATA)]
import make_phi3small as maker  # noqa: E402
import make_tiktoken  # noqa: E402

# Constants of the model's Python tokenizer, in its order.
SPECIAL = {
    "<|endoftext|>": 100257, "<|fim_prefix|>": 100258, "<|fim_middle|>": 100259, "<|fim_suffix|>": 100260, "<|system|>": 100261,
    "<|user|>": 100262, "<|assistant|>": 100263, "<|dummy_id_0|>": 100264, "<|dummy_id_1|>": 100265, "<|end|>": 100266,
    "<|dummy_id_2|>": 100256, **{f"<|dummy_id_{i}|>": 100264 + i for i in range(3, 12)}, "<|endofprompt|>": 100276,
    **{f"<|dummy_id_{i}|>": 100265 + i for i in range(12, 87)}}
PARTS = [*"aBéßяЖ中の한ا0123.,!?'\"/-_#={}()<>|", " ", "  ", "    ", "\t", "\n", "\n\n", "\r\n", "'s", "'LL", "\u00a0", "\u3000",
         "e\u0301", "👩\u200d🚀", "👍🏽", "🇩🇪", "½", "Ⅷ", "٣", "def ", "return", "http://", "2024-12-31", *SPECIAL]


def texts():
    mixtures = random.Random(1)
    return ["", " ", "\n", make_tiktoken.TEXT, make_tiktoken.TEXT.replace("\n", "\r\n"), (DATA / "tokenizer_config.json").read_text(),
            "<|user|>\nWho wrote Emma?<|end|>\n<|assistant|>\n", "<|dummy_id_87|>", "<|dummy_id_1|", *make_tiktoken.TEXT.splitlines(),
            *("".join(mixtures.choices(PARTS, k=mixtures.randint(1, 25))) for _ in range(3000))]


@functools.lru_cache(maxsize=None)
def checkpoint():
    folder = maker.make(support.scratch("checkpoint"))
    for name in ("cl100k_base.tiktoken", "tokenizer_config.json"):
        (folder / name).write_bytes((DATA / name).read_bytes())
    return folder


@functools.lru_cache(maxsize=None)
def converted(*options):
    return support.quantize(checkpoint(), *options)


@functools.lru_cache(maxsize=None)
def reference():
    lines = (line.split() for line in (DATA / "cl100k_base.tiktoken").read_text().splitlines())
    return tiktoken.Encoding("phi3small", pat_str=make_tiktoken.PATTERN, special_tokens=SPECIAL,
                             mergeable_ranks={base64.b64decode(token): int(rank) for token, rank in lines})


def wanted(text):
    return reference().encode(text, allowed_special="all", disallowed_special=())


class Ids(unittest.TestCase):
    def judge(self, encode, those=texts()):
        self.assertGreater(len(those), 2000)
        for text in those:
            self.assertEqual(list(encode(text)), wanted(text), repr(text))

    def test_the_pattern_is_tiktokens(self):
        self.assertIn(make_tiktoken.PATTERN, inspect.getsource(openai_public.cl100k_base))

    def test_tokenizers(self):
        tokenizer = Tokenizer.from_file(str(converted("-p", "int4") / "tokenizer.json"))
        self.judge(lambda text: tokenizer.encode(text).ids)

    def test_transformers(self):
        """Its class must not bring a pattern of its own."""
        tokenizer = AutoTokenizer.from_pretrained(converted("-p", "int4"))
        self.judge(lambda text: tokenizer.encode(text, verbose=False))
        self.assertEqual((tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id), (100257,) * 3)
        self.assertEqual(tokenizer.model_max_length, maker.CONTEXT)

    def test_mlx(self):
        tokenizer = load_tokenizer(converted("-p", "int4", "--format", "mlx"))
        self.judge(lambda text: tokenizer.encode(text, verbose=False))
        self.assertEqual(tokenizer.eos_token_id, 100257)

    def test_genai(self):
        """Its matcher does not go back: white space before a line end, and more of it between that and the next word, is cut
        elsewhere than by the pattern."""
        other = re.compile(r"[^\S\r\n][\r\n]\s*[^\S\r\n](?=\S)")
        tokenizer = og.Tokenizer(og.Model(str(converted("-p", "int4"))))
        self.judge(tokenizer.encode, [text for text in texts() if not other.search(text)])

    def test_texts_come_back(self):
        tokenizer = og.Tokenizer(og.Model(str(converted("-p", "int4"))))
        for text in make_tiktoken.TEXT.splitlines():
            self.assertEqual(tokenizer.decode(wanted(text)), text)


class Folder(unittest.TestCase):
    def test_made_and_copied_files(self):
        original = json.loads((DATA / "tokenizer_config.json").read_text())
        for options in (("-p", "int4"), ("-p", "int4", "--format", "mlx")):
            out = converted(*options)
            name = "cl100k_base.tiktoken"
            self.assertEqual((out / name).read_bytes(), (DATA / name).read_bytes())
            made = json.loads((out / "tokenizer_config.json").read_text())
            self.assertNotIn("auto_map", made)
            self.assertEqual(made["chat_template"], original["chat_template"])
            self.assertEqual((out / "tokenizer.json").read_bytes(), (converted("-p", "int4") / "tokenizer.json").read_bytes())

    def test_inspect_says_what_is_made(self):
        shown = support.run("inspect", checkpoint()).stdout
        self.assertIn("goes along         cl100k_base.tiktoken", shown)
        self.assertNotIn("goes along         tokenizer_config.json", shown)
        self.assertRegex(shown, r"made +tokenizer\.json, tokenizer_config\.json \(of cl100k_base\.tiktoken\)")

    def test_no_file_names_code_that_is_not_there(self):
        """transformers asks on the terminal whether to run it."""
        out = converted("-p", "int4", "--format", "mlx")
        for file in sorted(out.glob("*.json")):
            self.assertNotIn("auto_map", json.loads(file.read_text()), file.name)

    def test_plain_onnx_is_the_model_alone(self):
        for options in (("-p", "int4", "--format", "onnx"), ("-p", "fp16", "--target", "qnn", "--sequence-length", "64")):
            with self.subTest(options=options):
                self.assertEqual(set(support.files_of(converted(*options))), {"model.onnx", "model.onnx.data"})

    def test_chat_template(self):
        messages = [{"role": "user", "content": "Who wrote Emma?"}]
        want = "<|endoftext|><|user|>\nWho wrote Emma?<|end|>\n<|assistant|>\n"
        tokenizer = og.Tokenizer(og.Model(str(converted("-p", "int4"))))
        self.assertEqual(tokenizer.apply_chat_template(json.dumps(messages), add_generation_prompt=True), want)
        tokenizer = AutoTokenizer.from_pretrained(converted("-p", "int4"))
        self.assertEqual(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False), want)


if __name__ == "__main__":
    unittest.main()
