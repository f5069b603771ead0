"""GGUF bytes that no recorded file covers: whole files, weights quantized as stored, overrides, other imatrix files,
split files, GGUF as input. The judge of codes is ggml's own quantizer, out of the llama.cpp library."""
import ctypes
import hashlib
import json
import struct
import unittest

import gguf
import numpy as np

import genai_graph
import llama
import support

DATA = support.ROOT / "tests/data/gguf"
# The first 16 hex digits of the SHA-256 of llama-quantize's whole file (Q4_K_M from the converter's F16).
WHOLE = {"phi3-tiny": "a06a36bdeea7c2db", "phi2-tiny": "8d9ad98245080539"}


def quantize(source, *options, name="model.gguf"):
    return support.quantize(source, "--format", "gguf", *options, out=support.scratch(name))


def convert(checkpoint, *options):
    return quantize(genai_graph.checkpoint(checkpoint), *options)


def tensors(path):
    return {t.name: t for t in gguf.GGUFReader(path).tensors}


def same_tensors(test, a, b):
    test.assertEqual([(t.name, t.tensor_type, t.data.tobytes()) for t in gguf.GGUFReader(a).tensors],
                     [(t.name, t.tensor_type, t.data.tobytes()) for t in gguf.GGUFReader(b).tensors])


def ggml_codes(kind, values, importance=None):
    """What ggml_quantize_chunk makes of rows of float32 values."""
    function = llama.library().ggml_quantize_chunk
    function.restype = ctypes.c_size_t
    function.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64,
                         ctypes.c_void_p]
    values = np.ascontiguousarray(values, np.float32)
    block, size = gguf.GGML_QUANT_SIZES[kind]
    out = np.zeros(values.size // block * size, np.uint8)
    weights = None if importance is None else np.ascontiguousarray(importance, np.float32).ctypes.data
    function(int(kind), values.ctypes.data, out.ctypes.data, 0, values.shape[0], values.shape[1], weights)
    return out.tobytes()


class Bytes(unittest.TestCase):
    def test_whole_files(self):
        for checkpoint, digest in WHOLE.items():
            path = convert(checkpoint, "--scheme", "q4_k_m", "--via-f16")
            self.assertEqual(hashlib.sha256(path.read_bytes()).hexdigest()[:16], digest, checkpoint)

    def test_stored_values_are_quantized_directly(self):
        """Without --via-f16: what ggml makes of the float32 file's rows, tensor by tensor."""
        for checkpoint in ("phi3-tiny", "phi4-tiny", "phimoe-tiny"):
            stored = tensors(convert(checkpoint, "--scheme", "f32"))
            for scheme in ("q4_k_m", "q4_0", "q8_0", "q6_k", "q3_k_m", "iq4_xs"):
                quantized = 0
                for name, t in tensors(convert(checkpoint, "--scheme", scheme)).items():
                    values = stored[name].data
                    if t.tensor_type == gguf.GGMLQuantizationType.F32:
                        wanted = values.tobytes()
                    else:
                        quantized += 1
                        wanted = ggml_codes(t.tensor_type, values.reshape(-1, values.shape[-1]))
                    self.assertEqual(t.data.tobytes(), wanted, f"{checkpoint} {scheme} {name}")
                self.assertGreater(quantized, 10)

    def test_via_f16_differs_where_f16_cannot_hold_the_values(self):
        a, b = (tensors(convert("phi4-tiny", "--scheme", "q4_k_m", *o)) for o in ((), ("--via-f16",)))
        different = [name for name in a if a[name].data.tobytes() != b[name].data.tobytes()]
        self.assertEqual(len(different), 1)

    def test_types_that_are_asked_for(self):
        found = {name: t.tensor_type.name for name, t in tensors(convert(
            "phi3-tiny", "--scheme", "q4_k_m", "--tensor-type", "blk.0.*=q8_0", "--tensor-type", "*ffn_up*=F16",
            "--token-embedding-type", "q5_1", "--output-tensor-type", "bf16")).items()}
        self.assertEqual(found["blk.0.ffn_up.weight"], "Q8_0")
        self.assertEqual(found["blk.1.ffn_up.weight"], "F16")
        self.assertEqual(found["token_embd.weight"], "Q5_1")
        self.assertEqual(found["output.weight"], "BF16")
        self.assertEqual(found["blk.0.attn_norm.weight"], "F32")
        pure = {t.tensor_type.name for t in tensors(convert("phi3-tiny", "--scheme", "q4_k_m", "--pure")).values()}
        self.assertEqual(pure, {"Q4_K", "F32"})

    def test_defaults_of_precisions(self):
        for precision, scheme in (("int4", "q4_k_m"), ("int8", "q8_0"), ("fp16", "f16"), ("bf16", "bf16"), ("fp32", "f32")):
            a, b = convert("phi2-tiny", "-p", precision), convert("phi2-tiny", "--scheme", scheme)
            self.assertEqual(a.read_bytes(), b.read_bytes())

    def test_threads_and_memory_change_nothing(self):
        a = convert("phimoe-tiny", "--scheme", "q4_k_m", "--threads", "1", "--max-memory", "16M")
        b = convert("phimoe-tiny", "--scheme", "q4_k_m", "--threads", "8")
        self.assertEqual(a.read_bytes(), b.read_bytes())


class Imatrix(unittest.TestCase):
    FILE = DATA / "phi3-tiny-imatrix.gguf"

    def entries(self):
        found = tensors(self.FILE)
        return {name.removesuffix(".in_sum2"): t.data / found[name.replace(".in_sum2", ".counts")].data
                for name, t in found.items() if name.endswith(".in_sum2")}

    def older_format(self, entries):
        path = support.scratch("imatrix.dat")
        with open(path, "wb") as out:
            out.write(struct.pack("<i", len(entries)))
            for name, values in entries.items():
                values = np.asarray(values, np.float32)
                out.write(struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", 1, values.size) + values.tobytes())
            out.write(struct.pack("<ii", 40, 9) + b"calib.txt")
        return path

    def test_both_formats_mean_the_same(self):
        a = convert("phi3-tiny", "--scheme", "q4_k_m", "--imatrix", self.FILE)
        b = convert("phi3-tiny", "--scheme", "q4_k_m", "--imatrix", self.older_format(self.entries()))
        same_tensors(self, a, b)
        plain = tensors(convert("phi3-tiny", "--scheme", "q4_k_m"))
        changed = [n for n, t in tensors(a).items() if t.data.tobytes() != plain[n].data.tobytes()]
        self.assertEqual(sorted(changed), sorted(self.entries()))

    def test_each_expert_has_its_own(self):
        stored = tensors(convert("phimoe-tiny", "--scheme", "f32"))
        names = [n for n, t in stored.items() if n.startswith("blk.") and t.data.ndim > 1 and "ffn_gate_inp" not in n]
        random = np.random.default_rng(5)
        entries = {n: random.random(stored[n].data.shape[:-2] + stored[n].data.shape[-1:], np.float32) + np.float32(.01)
                   for n in names}
        path = convert("phimoe-tiny", "--scheme", "q5_0", "--imatrix", self.older_format(entries))
        for name, t in tensors(path).items():
            if name not in entries:
                continue
            values = stored[name].data
            stacks = values.reshape(-1, *values.shape[-2:])
            wanted = b"".join(ggml_codes(t.tensor_type, x, w)
                              for x, w in zip(stacks, entries[name].reshape(-1, values.shape[-1])))
            self.assertEqual(t.data.tobytes(), wanted, name)

    def test_of_another_model(self):
        nothing = self.older_format({"other." + name: values for name, values in self.entries().items()})
        for file, text in ((nothing, "has no entry for any tensor"), (self.FILE, "an imatrix of another model?")):
            done = support.run("quantize", genai_graph.checkpoint("phi2-tiny"), "-o", support.scratch("m.gguf"), "--scheme",
                               "q4_k_m", "--imatrix", file, check=False)
            self.assertEqual(done.returncode, 2)
            self.assertIn(text, done.stderr)

    def test_missing_entries_are_named(self):
        entries = {n: v for n, v in self.entries().items() if n != "blk.2.ffn_up.weight"}
        done = support.run("quantize", genai_graph.checkpoint("phi3-tiny"), "-o", support.scratch("m.gguf"), "--scheme",
                           "q4_k_m", "--imatrix", self.older_format(entries))
        self.assertIn("has no entry for 1 tensors (blk.2.ffn_up.weight)", done.stderr)


class Input(unittest.TestCase):
    def test_requantized_from_f32_as_from_the_checkpoint(self):
        for checkpoint in ("phi3-tiny", "phi2-tiny", "phimoe-tiny"):
            f32 = convert(checkpoint, "--scheme", "f32")
            again = quantize(f32, "--scheme", "q4_k_m")
            same_tensors(self, again, convert(checkpoint, "--scheme", "q4_k_m"))
            keys = set(gguf.GGUFReader(f32).fields)
            self.assertEqual(set(gguf.GGUFReader(again).fields), keys)

    def test_requantized_from_codes(self):
        """From Q8_0: what ggml makes of the decoded values; what has the type already is copied."""
        q8 = tensors(quantize(convert("phi3-tiny", "--scheme", "f32"), "--scheme", "q8_0"))
        path = quantize(convert("phi3-tiny", "--scheme", "q8_0"), "--scheme", "q4_0", "--output-tensor-type", "q8_0")
        for name, t in tensors(path).items():
            if t.tensor_type in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.Q8_0):
                wanted = q8[name].data.tobytes()
            else:
                wanted = ggml_codes(t.tensor_type, gguf.dequantize(q8[name].data, q8[name].tensor_type))
            self.assertEqual(t.data.tobytes(), wanted, name)

    def test_genai_from_gguf_is_genai_from_the_checkpoint(self):
        for checkpoint in ("phi3-tiny", "phi2-tiny", "phimoe-tiny"):
            source = genai_graph.checkpoint(checkpoint)
            a = support.quantize(convert(checkpoint, "--scheme", "f32"), "--format", "genai", "-p", "int4")
            b = support.quantize(source, "--format", "genai", "-p", "int4")
            for name in ("model.onnx", "model.onnx.data"):
                self.assertEqual((a / name).read_bytes(), (b / name).read_bytes(), f"{checkpoint} {name}")
            ids = [json.loads((folder / "genai_config.json").read_text())["model"]["eos_token_id"] for folder in (a, b)]
            ids = [set(i) if isinstance(i, list) else {i} for i in ids]
            self.assertLessEqual(ids[0], ids[1])

    def test_config_from_gguf_is_the_checkpoints(self):
        """Rope factors are float32 in GGUF and decimals in config.json."""
        for checkpoint in ("phi3-tiny", "phi4-tiny"):
            source = genai_graph.checkpoint(checkpoint)
            a, b = (json.loads((support.quantize(model, "--format", "mlx", "-p", "int4") / "config.json").read_text())
                    for model in (convert(checkpoint, "--scheme", "q8_0"), source))
            for key in ("long_factor", "short_factor"):
                self.assertEqual(json.dumps(a["rope_scaling"][key]), json.dumps(b["rope_scaling"][key]))
            self.assertEqual(a["rms_norm_eps"], b["rms_norm_eps"])
            self.assertEqual(a["rope_theta"], b["rope_theta"])

    def test_codes_are_kept(self):
        """Q4_0 and Q8_0 have the grid of MatMulNBits: what it holds is what the file held, bit by bit."""
        for scheme, precision, options in (("q4_0", "int4", ()), ("q4_0", "int4", ("--imatrix", Imatrix.FILE)),
                                           ("q8_0", "int8", ())):
            source = convert("phi3-tiny", "--scheme", scheme, "--pure", *options)
            report = support.scratch("report.json")
            out = support.quantize(source, "--format", "genai", "-p", precision, "--no-protect" if precision == "int4" else
                                   "--no-measure-error", "--report", report)
            rows = json.loads(report.read_text())["tensors"]
            kept = [row for row in rows if row["reason"] == f"codes of {scheme} kept"]
            self.assertEqual(len(kept), len([row for row in rows if row["action"] == "matmul_nbits"]))
            self.assertGreater(len(kept), 16)
            compared = json.loads(support.run("compare", source, out, "--json").stdout)
            self.assertEqual([p["name"] for p in compared["pairs"] if p["error"]["max_abs"] != 0], [])

    def test_split_and_joined(self):
        whole = convert("phi3-tiny", "--scheme", "q4_k_m")
        folder = support.quantize(genai_graph.checkpoint("phi3-tiny"), "--format", "gguf", "--scheme", "q4_k_m",
                                  "--max-file-size", "600K", out=support.scratch("parts"))
        parts = sorted(folder.iterdir())
        count = len(parts)
        self.assertGreater(count, 2)
        self.assertEqual([p.name for p in parts], [f"parts-{i:05}-of-{count:05}.gguf" for i in range(1, count + 1)])
        for i, part in enumerate(parts):
            fields = gguf.GGUFReader(part).fields
            self.assertEqual([fields[f"split.{k}"].contents() for k in ("no", "count", "tensors.count")],
                             [i, count, len(tensors(whole))])
            self.assertLessEqual(sum(t.data.nbytes for t in tensors(part).values()), 600_000)
        for part in (parts[0], parts[-1]):
            joined = quantize(part, "--scheme", "q4_k_m")
            same_tensors(self, joined, whole)
        self.assertEqual(quantize(parts[0], "--scheme", "q4_k_m").read_bytes(), whole.read_bytes())
        with llama.Model(parts[0]) as model:
            self.assertGreater(len(model.tokenize("In the beginning")), 2)
        parts[1].unlink()
        done = support.run("inspect", parts[0], check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(parts[1].name, done.stderr)


if __name__ == "__main__":
    unittest.main()
