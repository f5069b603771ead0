"""Checkpoints to ONNX Runtime GenAI folders: the model builder's graphs and bytes, transformers' logits, real generation."""
import functools
import json
import shutil
import unittest

import numpy as np
import onnx
import onnxruntime_genai as og

import genai_graph
import support

DATA = support.ROOT / "tests/data/genai"
CHECKPOINTS = ("phi3-tiny", "phi4-tiny", "phi3-4k-tiny", "phi2-tiny", "phimoe-tiny")
BUILT = ("phi3-tiny", "phi4-tiny", "phi3-4k-tiny", "phi2-tiny")       # those that the builder can convert
NUMPY = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64}


@functools.lru_cache(maxsize=None)
def reference(checkpoint):
    return json.loads((DATA / f"{checkpoint}.json").read_text())


def convert(checkpoint, *options):
    return support.cached(genai_graph.checkpoint(checkpoint), options)


def config_of(checkpoint):
    return json.loads((genai_graph.checkpoint(checkpoint) / "config.json").read_text())


@functools.lru_cache(maxsize=None)
def recorded(checkpoint):
    return np.load(genai_graph.checkpoint(checkpoint) / "logits.npz")


def open_logits(folder):
    """A function from a prompt to its logits, with an empty cache."""
    session = support.open_session(folder)
    decoder = json.loads((folder / "genai_config.json").read_text())["model"]["decoder"]

    def run(ids):
        feed = {}
        for i in session.get_inputs():
            kind = NUMPY[i.type]
            if i.name == "input_ids":
                feed[i.name] = np.asarray([ids], kind)
            elif i.name == "attention_mask":
                feed[i.name] = np.ones((1, len(ids)), kind)
            elif i.name == "position_ids":
                feed[i.name] = np.arange(len(ids), dtype=kind)[None]
            else:
                feed[i.name] = np.zeros((1, decoder["num_key_value_heads"], 0, decoder["head_size"]), kind)
        return session.run(["logits"], feed)[0][0].astype(np.float64)
    return run


def logits(folder, ids):
    """Logits of a prompt with an empty cache."""
    return open_logits(folder)(ids)


@functools.lru_cache(maxsize=None)
def float_twin(folder):
    """A folder's graph with its weights decoded to float32: what its codes say, without quantized kernels."""
    twin = support.quantize(folder, "-p", "fp32")
    (twin / "genai_config.json").write_bytes((folder / "genai_config.json").read_bytes())
    return twin


def plain_logits(folder, ids, config=()):
    return support.open_session(folder, config).run(["logits"], {"input_ids": np.asarray([ids], np.int64)})[0][0].astype(np.float64)


def with_builders_tables(checkpoint, folder):
    """A copy of a float32 folder with the rotary tables that the builder wrote."""
    model = support.load(folder)
    tables = {c.output[0]: c.attribute[0].t for n in model.graph.node if n.op_type == "If" for b in n.attribute for c in b.g.node}
    tables |= {t.name: t for t in model.graph.initializer if genai_graph.is_rope_table(t.name)}
    for name, table in tables.items():
        value = builders_table(checkpoint, name)
        if list(value.shape) != list(table.dims):
            raise AssertionError(f"{name}: {table.dims} and the builder's {value.shape}")
        table.CopyFrom(onnx.numpy_helper.from_array(value, table.name))
    if len(tables) not in (2, 4):
        raise AssertionError(f"{len(tables)} rotary tables")
    copy = support.scratch("builders_tables")
    copy.mkdir()
    onnx.save(model, str(copy / "model.onnx"))
    (copy / "genai_config.json").write_bytes((folder / "genai_config.json").read_bytes())
    return copy


def builders_table(checkpoint, name):
    kind, _, branch = name.partition("_cache")
    return genai_graph.builders_table(checkpoint, branch.strip("_") or "all", kind)


def float_slack(checkpoint, keys):
    """Rounding of float sums along the deepest path: each addition errs by at most half a unit in the last place. Two
    programs that differ in the order of sums only are this close, relative to the norm."""
    c = config_of(checkpoint)
    hidden, ffn = c["hidden_size"], c["intermediate_size"]
    layer = hidden + hidden // c["num_attention_heads"] + keys + hidden + hidden + ffn + 2 * hidden
    return (c["num_hidden_layers"] * layer + hidden) * 2.0**-24


def assert_float_choices(test, checkpoint, folder, length, recorded_tokens):
    """A float32 folder generates the tokens that were recorded elsewhere, near ties apart: both are held against the
    folder's logits."""
    prompt = [int(t) for t in recorded(checkpoint)[f"{length}_ids"]]
    for tokens in (recorded_tokens, genai_graph.greedy(folder, prompt, len(recorded_tokens))):
        rows = rows_of_choices(folder, prompt, tokens)
        slack = float_slack(checkpoint, len(prompt) + len(tokens))
        support.assert_greedy(test, rows, tokens, support.logit_error(rows, slack))


def rows_of_choices(folder, prompt, tokens):
    """The logits that each of `tokens` was chosen by, if `folder` chose it."""
    return logits(folder, [*prompt, *(int(t) for t in tokens[:-1])])[len(prompt) - 1:]


class Builder(unittest.TestCase):
    """--recipe builder against what the real builder wrote."""

    def each(self, check):
        for checkpoint in BUILT:
            for variant, entry in reference(checkpoint).items():
                with self.subTest(checkpoint=checkpoint, variant=variant):
                    check(checkpoint, entry, convert(checkpoint, "--recipe", "builder", *entry["options"]))

    def test_every_tensor_has_the_builders_bytes(self):
        def check(_checkpoint, entry, out):
            ours = {k: genai_graph.digest_of(v) for k, v in genai_graph.tensors(support.load(out)).items()
                    if not genai_graph.is_rope_table(k)}
            self.assertEqual(ours, entry["tensors"])
        self.each(check)

    def test_the_graph_is_the_builders(self):
        def check(_checkpoint, entry, out):
            if "graph" in entry:
                graph = onnx.load(str(out / "model.onnx"), load_external_data=False).graph
                self.assertEqual(genai_graph.digest(graph), entry["graph"])
        self.each(check)

    def test_genai_config_is_the_builders(self):
        self.each(lambda _checkpoint, entry, out:
                  self.assertEqual(json.loads((out / "genai_config.json").read_text()), entry["config"]))

    def test_epsilon_is_the_configs(self):
        for checkpoint in CHECKPOINTS:
            config = config_of(checkpoint)
            wanted = np.float32(config.get("layer_norm_eps", config.get("rms_norm_eps")))
            graph = onnx.load(str(convert(checkpoint, "-p", "fp32") / "model.onnx"), load_external_data=False).graph
            found = {a.f for n in graph.node for a in n.attribute if a.name == "epsilon"}
            self.assertEqual(found, {wanted}, checkpoint)

    def test_float_folders_generate_the_builders_tokens(self):
        """Float folders only. Tokens out of quantized kernels are those of one processor (docs/testing.md), and that a
        folder with the builder's bytes is the builder's needs no runtime: the tests above compare them."""
        for checkpoint in BUILT:
            if checkpoint == "phi2-tiny":
                continue                        # there the builder's epsilon is wrong
            entry = reference(checkpoint)["cpu-fp32"]
            out = with_builders_tables(checkpoint, convert(checkpoint, "--recipe", "builder", *entry["options"]))
            for length, wanted in entry["greedy"].items():
                with self.subTest(checkpoint=checkpoint, prompt=length):
                    assert_float_choices(self, checkpoint, out, length, wanted)

    def test_rotary_tables_are_the_nearest_floats(self):
        """Ours are. The builder's are PyTorch's, whose bits are its machine's: inverse frequencies as good as ours, tables
        within two units in the last place of the nearest floats (as recorded; builders_table compares the digest)."""
        for checkpoint in BUILT:
            ours = {k: v for k, v in genai_graph.tensors(support.load(convert(checkpoint, "-p", "fp32"))).items()
                    if genai_graph.is_rope_table(k)}
            self.assertIn(len(ours), (2, 4))
            for name, data in ours.items():
                with self.subTest(checkpoint=checkpoint, table=name):
                    kind, _, branch = name.partition("_cache")
                    at = f"{checkpoint}/{branch.strip('_') or 'all'}"
                    config = config_of(checkpoint)
                    factors = {"_large": "long_factor", "_small": "short_factor"}.get(branch)
                    inverse = genai_graph.inverse_frequencies(config, config["rope_scaling"][factors] if factors else None)
                    theirs = genai_graph.rope_data()[f"{at}/inverse"]
                    # A power one unit off, and in either the roundings of the product and of the reciprocal.
                    self.assertLessEqual(np.abs(theirs.astype(float) / inverse - 1).max(), 2.0**-23 + 4 * 2.0**-24)
                    length, scale = (genai_graph.rope_data()[f"{at}/{what}"] for what in ("length", "scale"))
                    np.testing.assert_array_equal(np.frombuffer(data, np.float32).reshape(length, -1),
                                                  genai_graph.nearest(kind, int(length), inverse) * scale)
                    builders_table(checkpoint, name)


class Transformers(unittest.TestCase):
    """Float graphs against logits and greedy tokens that transformers computed in float32."""

    def test_logits(self):
        for checkpoint in CHECKPOINTS:
            for length in ("short", "long"):
                with self.subTest(checkpoint=checkpoint, prompt=length):
                    ids, wanted = (recorded(checkpoint)[f"{length}_{what}"] for what in ("ids", "logits"))
                    found = logits(convert(checkpoint, "-p", "fp32"), ids)[-len(wanted):]
                    difference = support.relative_difference([wanted.astype(np.float64)], [found])
                    self.assertLess(difference, float_slack(checkpoint, len(ids)))

    def test_greedy_tokens(self):
        for checkpoint in CHECKPOINTS:
            for length in ("short", "long"):
                with self.subTest(checkpoint=checkpoint, prompt=length):
                    assert_float_choices(self, checkpoint, convert(checkpoint, "-p", "fp32"), length,
                                         recorded(checkpoint)[f"{length}_greedy"])


class Quantized(unittest.TestCase):
    """What onnxruntime-genai makes of quantized folders, against their float twins on the same machine."""

    def test_generates_what_the_weights_say(self):
        builder = ("--recipe", "builder", "-p", "int4")
        for checkpoint in BUILT:                # not phimoe-tiny: 8-bit activations send tokens to other experts
            # Four products a layer, then the head; blocks of 32.
            rounding = support.eight_bit_rounding(4 * config_of(checkpoint)["num_hidden_layers"] + 1, 32)
            for options in (("-p", "int4"), ("-p", "int8"), builder,
                            (*builder, "--scheme", "k_quant", "--lm-head", "int8", "--mixed-layers")):
                folder = convert(checkpoint, *options)
                for length in ("short", "long"):
                    with self.subTest(checkpoint=checkpoint, options=options, prompt=length):
                        prompt = [int(t) for t in recorded(checkpoint)[f"{length}_ids"]]
                        tokens = genai_graph.greedy(folder, prompt)
                        rows, found = (rows_of_choices(f, prompt, tokens) for f in (float_twin(folder), folder))
                        self.assertLess(support.relative_difference([rows], [found]), rounding)
                        # One by one, tokens go through other kernels than a prompt. Where those compute in float, as
                        # the twin does, the errors of float sums are all that is left.
                        slack = support.logit_error(rows, float_slack(checkpoint, len(prompt) + len(tokens)))
                        support.assert_greedy(self, rows, tokens, np.abs(rows - found).max() + slack)


class PlainOnnx(unittest.TestCase):
    """--format onnx: standard operators, input_ids to logits."""

    def test_logits_are_those_of_transformers(self):
        for checkpoint in CHECKPOINTS:
            for length in ("short", "long"):
                with self.subTest(checkpoint=checkpoint, prompt=length):
                    ids, wanted = (recorded(checkpoint)[f"{length}_{what}"] for what in ("ids", "logits"))
                    found = plain_logits(convert(checkpoint, "--format", "onnx", "-p", "fp32"), ids)[-len(wanted):]
                    difference = support.relative_difference([wanted.astype(np.float64)], [found])
                    self.assertLess(difference, float_slack(checkpoint, len(ids)))

    def test_qdq_needs_no_contrib_operator_and_computes_what_its_codes_say(self):
        for checkpoint in CHECKPOINTS:
            for options in (("-p", "int4"), ("-p", "int8")):
                with self.subTest(checkpoint=checkpoint, options=options):
                    out = convert(checkpoint, "--format", "onnx", "--style", "qdq", *options)
                    onnx.checker.check_model(str(out / "model.onnx"), full_check=True)
                    graph = onnx.load(str(out / "model.onnx"), load_external_data=False).graph
                    self.assertEqual({n.domain for n in graph.node}, {""})
                    decoded = support.quantize(out, "-p", "fp32")
                    ids = recorded(checkpoint)["short_ids"]
                    exact = plain_logits(out, ids, support.FLOAT_ARITHMETIC)
                    difference = support.relative_difference([plain_logits(decoded, ids)], [exact])
                    self.assertLess(difference, float_slack(checkpoint, len(ids)))

    def test_int8_is_close_to_the_float_model(self):
        """Weights and, by default, activations are rounded to 8 bits, each once per product and in blocks no longer than
        the longest row. A transposed or misplaced weight leaves nothing alike: a difference near the root of 2."""
        for checkpoint in ("phi3-tiny", "phi3-4k-tiny", "phi2-tiny"):
            ids, config = recorded(checkpoint)["short_ids"], config_of(checkpoint)
            wanted, found = (plain_logits(convert(checkpoint, "--format", "onnx", *options), ids)
                             for options in (("-p", "fp32"), ("--style", "qdq", "-p", "int8")))
            n_products = 4 * config["num_hidden_layers"] + 1
            rounding = support.eight_bit_rounding(2 * n_products, config["intermediate_size"])
            self.assertLess(support.relative_difference([wanted], [found]), rounding, checkpoint)


class Folder(unittest.TestCase):
    def test_tokenizer_files_are_copied_byte_for_byte(self):
        for checkpoint in CHECKPOINTS:
            source, out = genai_graph.checkpoint(checkpoint), convert(checkpoint, "-p", "int4")
            for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
                self.assertEqual((out / name).read_bytes(), (source / name).read_bytes(), f"{checkpoint}/{name}")

    def test_every_default_generates(self):
        for checkpoint in CHECKPOINTS:
            for precision in ("int4", "int8"):
                with self.subTest(checkpoint=checkpoint, precision=precision):
                    prompt = [int(t) for t in recorded(checkpoint)["short_ids"]]
                    self.assertEqual(len(genai_graph.greedy(convert(checkpoint, "-p", precision), prompt, 8)), 8)

    def test_dry_run_says_the_exact_sizes(self):
        for checkpoint in CHECKPOINTS:
            for precision in ("int4", "int8", "fp32"):
                planned = support.report(genai_graph.checkpoint(checkpoint), "-o", support.scratch("out"), "--dry-run", "-p", precision)
                self.assertEqual({f["path"]: f["size_bytes"] for f in planned["files"]}, support.files_of(convert(checkpoint, "-p", precision)))

    def test_illegal_pairs_are_refused_with_the_legal_ones(self):
        for target, precision in (("cpu", "fp16"), ("dml", "int8"), ("webgpu", "fp32")):
            done = support.run("quantize", genai_graph.checkpoint("phi2-tiny"), "-o", support.scratch("out"), "--target", target,
                               "-p", precision, check=False)
            self.assertEqual(done.returncode, 2)
            self.assertIn("cpu: int4, int8, fp32", done.stderr)


class Quality(unittest.TestCase):
    """KL divergence to the float model on text that the checkpoints were not trained on, and bytes: our int4 against the
    model builder's, made in the same run with --recipe builder, whose bytes the tests above compare. The weights are
    judged, in float arithmetic: what a processor's kernels round is no merit or fault of theirs."""

    def judge(self, checkpoint, *options):
        folder = convert(checkpoint, "-p", "int4", *options)
        kl = support.perplexity.score(self.windows(checkpoint), self.logits(checkpoint, float_twin(folder)), self.floats(checkpoint))["kl"]
        size = sum(support.files_of(folder)[f] for f in ("model.onnx", "model.onnx.data"))
        return kl, size

    @functools.lru_cache(maxsize=None)
    def windows(self, checkpoint):
        tokenizer = og.Tokenizer(og.Model(str(convert(checkpoint, "-p", "fp32"))))
        text = (support.ROOT / "examples/phi3-tiny/eval.txt").read_text()
        return support.perplexity.windows(np.array(tokenizer.encode(text)), support.WINDOW)

    def logits(self, checkpoint, folder):
        session = open_logits(folder)
        return [session(part) for part in self.windows(checkpoint)]

    @functools.lru_cache(maxsize=None)
    def floats(self, checkpoint):
        return self.logits(checkpoint, convert(checkpoint, "-p", "fp32"))

    def test_defaults(self):
        for checkpoint, factor in (("phi3-tiny", 1.5), ("phi4-tiny", 3)):
            with self.subTest(checkpoint=checkpoint):
                kl, size = self.judge(checkpoint)
                builders_kl, builders_size = self.judge(checkpoint, "--recipe", "builder")
                self.assertLess(kl, builders_kl / factor)
                self.assertLessEqual(size, 1.12 * builders_size)

    def test_mixed_layers_with_search(self):
        mixed = ("--recipe", "builder", "--lm-head", "int8", "--mixed-layers")
        for checkpoint in ("phi3-tiny", "phi4-tiny"):
            with self.subTest(checkpoint=checkpoint):
                kl, size = self.judge(checkpoint, *mixed, "--search")
                builders_kl, builders_size = self.judge(checkpoint, *mixed, "--scheme", "k_quant")   # k_quant_mixed
                self.assertLess(kl, builders_kl)
                self.assertLess(size, builders_size)


def decode_experts(graph, node):
    """The weights of a QMoE node with blocks of 32, by the names that the float graph gives them."""
    layer, bits = node.name.split("/")[2].removeprefix("layers."), support.attributes(node)["expert_weight_bits"]
    out = {}
    for code, scale, names in ((2, 3, ("gate_proj", "up_proj")), (5, 6, ("down_proj",))):
        codes, scales = graph.array(node.input[code]), graph.array(node.input[scale])
        for expert in range(codes.shape[0]):
            values = support.unpack(codes[expert], bits).astype(np.float32).reshape(*scales[expert].shape, 32) - (1 << (bits - 1))
            rows = (values * scales[expert][..., None]).reshape(scales.shape[1], -1)
            for i, name in enumerate(names):           # rows of gate and up by turns
                out[f"model.layers.{layer}.moe.experts.{expert}.{name}.MatMul.weight"] = np.ascontiguousarray(rows[i::len(names)].T)
    return out


def decoded_folder(checkpoint, out):
    """The float graph of a checkpoint with the weights that the codes of `out` stand for."""
    quantized = support.Graph(support.load(out))
    weights = {}
    for node in quantized.model.graph.node:
        if node.op_type == "MatMulNBits":
            weights[node.input[1].rsplit("_Q", 1)[0]] = support.decode_nbits(quantized, node)
        elif node.op_type == "QMoE":
            weights.update(decode_experts(quantized, node))
    plain = onnx.load(str(convert(checkpoint, "-p", "fp32") / "model.onnx"))
    for tensor in plain.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(onnx.numpy_helper.from_array(weights[tensor.name], tensor.name))
    decoded = support.scratch("decoded")
    decoded.mkdir()
    onnx.save(plain, str(decoded / "model.onnx"))
    (decoded / "genai_config.json").write_bytes((out / "genai_config.json").read_bytes())
    return decoded


# Router weights near a tie decide which expert sees a token; the recorded logits show both branches of the mixer.
class Experts(unittest.TestCase):
    def test_quantized_experts_compute_what_their_codes_say(self):
        out = convert("phimoe-tiny", "-p", "int4", "--accuracy-level", "1")
        decoded = decoded_folder("phimoe-tiny", out)
        for length in ("short", "long"):
            ids = recorded("phimoe-tiny")[f"{length}_ids"]
            difference = support.relative_difference([logits(decoded, ids)], [logits(out, ids)])
            self.assertLess(difference, float_slack("phimoe-tiny", len(ids)))

    def test_an_expert_with_nan_stays_float_and_alone(self):
        folder = support.scratch("checkpoint")
        shutil.copytree(genai_graph.checkpoint("phimoe-tiny"), folder)
        bad = "model.layers.0.block_sparse_moe.experts.1.w2.weight"
        shard = folder / json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"][bad]
        data = bytearray(shard.read_bytes())
        size = int.from_bytes(data[:8], "little")
        begin = 8 + size + json.loads(data[8:8 + size])[bad]["data_offsets"][0]
        data[begin:begin + 2] = b"\xc0\x7f"            # a bfloat16 NaN
        shard.unlink()
        shard.write_bytes(data)
        out = support.quantize(folder, "-p", "int4")
        nodes = onnx.load(str(out / "model.onnx"), load_external_data=False).graph.node
        self.assertEqual([n.name for n in nodes if n.op_type == "QMoE"], ["/model/layers.1/moe/QMoE"])
        floats = [n.name for n in nodes if n.op_type == "MatMul" and "experts" in n.name]
        self.assertEqual(floats, ["/model/layers.0/moe/experts.1/down_proj/MatMul"])
        self.assertEqual(support.run("quantize", folder, "-o", support.scratch("out"), "-p", "int4", "--strict", check=False).returncode, 5)


if __name__ == "__main__":
    unittest.main()
