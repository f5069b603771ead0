"""Every precision, style, scheme and block size: valid ONNX, sizes as announced, computes what its weights say."""
import unittest

import numpy as np
import onnx
import onnx.reference

import cases
import support

TOKENS = 768
# Rounding of float sums along the deepest path of the example: each of its 4 layers sums over 256 (qkv), 64 and up
# to 256 (attention), 256 (o_proj), 256 (gate_up), 512 (down), plus two norms over 256; then 256 (head). Each
# addition errs by at most half a unit in the last place of a float. Two graphs that differ in the order of sums only
# are this close, relative to the norm, unless the network amplifies errors.
FLOAT_SLACK = (4 * (256 + 64 + 256 + 256 + 256 + 512 + 2 * 256) + 256) * 2.0**-24
SOURCES = {"fp32": support.FP32, "bf16w": support.BF16}


def float_version(path):
    """The model with its weights decoded to float: what the quantized graph should compute."""
    return support.cached(path, ("-p", "fp32"))


class EveryOutput(unittest.TestCase):
    def each(self, table, check):
        """check(source, options, output) for every case and both sources, each in a subtest."""
        for source, path in SOURCES.items():
            for name, options in table.items():
                with self.subTest(source=source, case=name):
                    check(path, options, support.cached(path, options))

    def test_checker_and_shape_inference(self):
        def check(_source, _options, out):
            path = str(out / "model.onnx")
            onnx.checker.check_model(path)
            inferred = onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True)
            self.assertEqual([d.dim_value for d in inferred.graph.output[0].type.tensor_type.shape.dim][-1], 2048)
        self.each(cases.ALL, check)

    def test_dry_run_says_the_exact_sizes(self):
        def check(source, options, out):
            planned = support.report(source, "-o", support.scratch("out"), "--dry-run", *options)
            self.assertEqual({f["path"]: f["size_bytes"] for f in planned["files"]}, support.files_of(out))
        self.each(cases.ALL, check)

    def test_names_and_types_of_inputs_and_outputs_survive(self):
        original = onnx.load(str(support.FP32 / "model.onnx"), load_external_data=False).graph

        def check(_source, options, out):
            graph = onnx.load(str(out / "model.onnx"), load_external_data=False).graph
            if "--no-keep-io-types" in options:
                self.assertEqual(graph.output[0].type.tensor_type.elem_type, onnx.TensorProto.FLOAT16)
                return
            for a, b in zip([*original.input, *original.output], [*graph.input, *graph.output]):
                self.assertEqual(a, b)
        self.each(cases.ALL, check)

    def test_weights_decode_to_what_fp32_writes(self):
        """Back to float gives exactly (code - zero point) * scale, computed here from the schema's definition."""
        def check(_source, _options, out):
            quantized = support.Graph(support.load(out))
            decoded = support.Graph(support.load(float_version(out)))
            nodes = [n for n in quantized.quantized_nodes() if n.op_type in ("MatMulNBits", "DequantizeLinear")]
            for node in nodes:
                nbits = node.op_type == "MatMulNBits"
                wanted = (support.decode_nbits if nbits else support.decode_linear)(quantized, node)
                product = node if nbits else next(n for n in quantized.model.graph.node if node.output[0] in n.input)
                same = decoded.producer[product.output[0]]      # the MatMul, or the Gather of an embedding
                found = decoded.array(same.input[1 if same.op_type == "MatMul" else 0])
                np.testing.assert_array_equal(wanted, found, node.name)
        self.each({**cases.INT4, **cases.INT8, **cases.DYNAMIC}, check)


class InTheRuntime(unittest.TestCase):
    def test_computes_what_the_weights_say(self):
        """Weight-only models against the float model with the decoded weights. Accuracy level 0: float arithmetic."""
        for name, options in {**cases.INT4, **cases.INT8}.items():
            with self.subTest(case=name):
                contrib = not {"qdq", "qdq_channel", "qdq_tensor"} & set(options)
                out = support.cached(support.FP32, options + (("--accuracy-level", "0") if contrib else ()))
                difference = support.relative_difference(support.logits(float_version(out), TOKENS),
                                                         support.logits(out, TOKENS, support.FLOAT_ARITHMETIC))
                self.assertLess(difference, FLOAT_SLACK)

    def test_int8_arithmetic_costs_less_than_int4_weights(self):
        """Accuracy level 4 rounds activations to 8 bits; that must stay below what 4-bit weights cost."""
        for name, options in cases.INT4.items():
            if "qdq" in name:
                continue
            with self.subTest(case=name):
                out = support.cached(support.FP32, options)
                reference = support.logits(float_version(out), TOKENS)
                rounding = support.relative_difference(reference, support.logits(out, TOKENS))
                weights = support.relative_difference(support.logits(support.FP32, TOKENS), reference)
                self.assertLess(rounding, weights)

    def test_more_bits_are_closer(self):
        """KL divergence to the float model: every fp16 output below every 8-bit one, those below every 4-bit one."""
        kl = {}
        for group in ("INT4", "INT8", "DYNAMIC", "FLOAT"):
            for name, options in getattr(cases, group).items():
                kl.setdefault(group, {})[name] = support.score(support.cached(support.FP32, options), TOKENS)["kl"]
        for low, high in (("FLOAT", "INT8"), ("FLOAT", "DYNAMIC"), ("INT8", "INT4"), ("DYNAMIC", "INT4")):
            worst, best = max(kl[low].items(), key=lambda x: x[1]), min(kl[high].items(), key=lambda x: x[1])
            self.assertLess(worst[1], best[1], f"{worst[0]} and {best[0]}")
        self.assertEqual(kl["FLOAT"]["fp32"], 0)

    def test_smaller_blocks_are_closer(self):
        """Total SQNR of the weights falls with every larger block; KL at the two ends."""
        for bits in (4, 8):
            for scheme in ("symmetric", "asymmetric", "k_quant"):
                with self.subTest(bits=bits, scheme=scheme):
                    outs = [support.cached(support.FP32, cases.ALL[f"int{bits}-{scheme}-{b}"]) for b in cases.BLOCKS]
                    sqnr = [self.weight_sqnr(out) for out in outs]
                    self.assertEqual(sqnr, sorted(sqnr, reverse=True))
                    if bits == 4:
                        self.assertLess(support.score(outs[0], TOKENS)["kl"], support.score(outs[-1], TOKENS)["kl"])

    def weight_sqnr(self, out):
        original, quantized = support.Graph(support.load(support.FP32)), support.Graph(support.load(out))
        signal = noise = 0.0
        for node in quantized.quantized_nodes():
            x = original.array(original.producer[node.output[0]].input[1]).astype(np.float64)
            y = support.decode_nbits(quantized, node)
            signal, noise = signal + (x**2).sum(), noise + ((x - y)**2).sum()
        return 10 * np.log10(signal / noise)

    def test_search_beats_rounding(self):
        """--search: better weights and better logits than the default of the same form."""
        for symmetry in ("symmetric", "asymmetric"):
            with self.subTest(symmetry=symmetry):
                plain = support.cached(support.FP32, ("-p", "int4", f"--{symmetry}"))
                searched = support.cached(support.FP32, ("-p", "int4", f"--{symmetry}", "--search"))
                sizes = [support.files_of(out)["model.onnx.data"] for out in (plain, searched)]
                self.assertEqual(*sizes)
                self.assertGreater(self.weight_sqnr(searched), self.weight_sqnr(plain))
                self.assertLess(support.score(searched, TOKENS)["kl"], support.score(plain, TOKENS)["kl"])

    def test_lm_head_protection_helps(self):
        protected = support.cached(support.FP32, ("-p", "int4"))
        uniform = support.cached(support.FP32, ("-p", "int4", "--no-protect"))
        bits = [support.attributes(n)["bits"] for n in support.Graph(support.load(protected)).quantized_nodes()]
        self.assertEqual(sorted(bits), [4] * 16 + [8])
        self.assertLess(support.score(protected, TOKENS)["kl"], support.score(uniform, TOKENS)["kl"])

    def test_bf16_weights_give_the_same_model(self):
        """The two examples hold the same values, so their outputs compute the same to the last bit."""
        for name in ("int4-symmetric-32", "int8-asymmetric-64", "int4-k_quant-32", "int4-qdq-symmetric-32"):
            with self.subTest(case=name):
                pair = [support.logits(support.cached(s, cases.ALL[name]), TOKENS) for s in SOURCES.values()]
                for a, b in zip(*pair):
                    np.testing.assert_array_equal(a, b)

    def test_bf16_and_back(self):
        """The example's weights are bf16 values, so bf16 loses only constants; the runtime cannot run bf16 itself."""
        out = support.cached(support.FP32, cases.BF16["bf16"])
        kinds = {t.data_type for t in support.load(out).graph.initializer}
        self.assertIn(onnx.TensorProto.BFLOAT16, kinds)
        self.assertNotIn(onnx.TensorProto.FLOAT, kinds)
        back, original = support.Graph(support.load(float_version(out))), support.Graph(support.load(support.FP32))
        for name, tensor in original.tensors.items():
            if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 2:
                np.testing.assert_array_equal(original.array(name), back.array(name))

    def test_bf16_computes_in_onnxs_own_evaluator(self):
        """ONNX's reference implementation has bfloat16. Every node rounds to 8 bits: a relative error of at most 2^-8 each
        along the longest path, beside the float32 model of the same weights."""
        out = support.cached(support.FP32, cases.BF16["bf16"])
        model = support.load(out)
        products = [n.output[0] for n in model.graph.node if n.op_type == "MatMul"]
        for name in products:
            model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.BFLOAT16, None))
        ids = support.eval_windows(TOKENS)[0][:128]
        feed = {"input_ids": ids[None], "attention_mask": np.ones((1, len(ids)), np.int64)}
        evaluator = onnx.reference.ReferenceEvaluator(model)
        found, *values = evaluator.run(None, {k: v for k, v in feed.items() if k in evaluator.input_names})
        self.assertEqual({str(v.dtype) for v in values}, {"bfloat16"})
        self.assertEqual(found.dtype, np.float32)
        depth = {}                      # nodes between an input and a value, in graph order
        for node in model.graph.node:
            longest = 1 + max((depth.get(i, 0) for i in node.input), default=0)
            depth.update({o: longest for o in node.output})
        [wanted] = support.perplexity.logits_of(support.open_session(float_version(out)), [ids])
        difference = support.relative_difference([wanted], [found[0].astype(np.float64)])
        self.assertLess(difference, depth["logits"] * 2.0**-8)
        self.assertGreater(difference, 2.0**-24)        # float32 would not have shown anything

    def test_fp16_model_as_input(self):
        """A float16 graph: MatMulNBits gets float16 scales and runs."""
        half = support.cached(support.FP32, ("-p", "fp16"))
        for options in (("-p", "int4"), ("-p", "int8"), ("-p", "int4", "--style", "qdq"), ("-p", "int4", "--scheme", "k_quant")):
            with self.subTest(options=options):
                out = support.cached(half, options)
                graph = support.Graph(support.load(out))
                for node in graph.quantized_nodes():
                    at = 2 if node.op_type == "MatMulNBits" else 1
                    self.assertEqual(graph.tensors[node.input[at]].data_type, onnx.TensorProto.FLOAT16)
                direct = support.score(support.cached(support.FP32, options), TOKENS)["kl"]
                base = support.score(half, TOKENS)["kl"]
                found = support.score(out, TOKENS)["kl"]
                # Distances add up at worst as their roots do (Cauchy-Schwarz on the leading, quadratic term of KL);
                # doubled, since float16 rounding happens at more places than in `half` (the scales).
                self.assertLess(found, (direct**0.5 + 2 * base**0.5)**2)


if __name__ == "__main__":
    unittest.main()
