"""Forms of output: one file, external data in one or several files, sizes known beforehand; same bytes always."""
import json
import os
import pathlib
import unittest

import numpy as np
import onnx

import cases
import support

TOKENS = 256


def locations(model_path):
    """External data file -> names of the tensors in it."""
    found = {}
    for tensor in onnx.load(str(model_path), load_external_data=False).graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                found.setdefault(entry.value, []).append(tensor.name)
    return found


class Forms(unittest.TestCase):
    def same_model(self, path, options=("-p", "int4")):
        for a, b in zip(support.logits(support.cached(support.FP32, options), TOKENS), support.logits(path, TOKENS)):
            np.testing.assert_array_equal(a, b)

    def test_single_file(self):
        out = support.quantize(support.FP32, "-p", "int4", "--external-data-threshold", "1G", out=support.scratch("one.onnx"))
        self.assertEqual(locations(out), {})
        self.assertEqual(list(out.parent.iterdir()), [out])
        self.same_model(out)

    def test_external_data_threshold(self):
        out = support.quantize(support.FP32, "-p", "int4", "--external-data-threshold", "0")
        model = onnx.load(str(out / "model.onnx"), load_external_data=False)
        inside = [t for t in model.graph.initializer if t.data_location != onnx.TensorProto.EXTERNAL]
        inside += [a.t for n in model.graph.node if n.op_type == "Constant" for a in n.attribute]
        # Shapes and axes: shape inference, ONNX Runtime's too, reads them from inside the model only.
        self.assertEqual({t.data_type for t in inside}, {onnx.TensorProto.INT64})
        scalars = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and not t.dims]
        self.assertTrue(scalars)
        onnx.checker.check_model(str(out / "model.onnx"))
        self.same_model(out)
        some = support.quantize(support.FP32, "-p", "int4", "--external-data-threshold", "512")
        sizes = {t.name: onnx.numpy_helper.to_array(t).nbytes for t in support.load(some).graph.initializer}
        outside = {n for names in locations(some / "model.onnx").values() for n in names}
        integers = {t.name for t in support.load(some).graph.initializer if t.data_type == onnx.TensorProto.INT64}
        self.assertEqual(outside, {n for n, size in sizes.items() if size >= 512} - integers)
        self.assertLess(len(outside), len(sizes))
        self.same_model(some)

    def test_max_file_size(self):
        for limit in (600_000, 1_000_000):
            with self.subTest(limit=limit):
                out = support.quantize(support.FP32, "-p", "int4", "--embeddings", "int8", "--max-file-size", limit)
                files = support.files_of(out)
                data = {name: size for name, size in files.items() if name != "model.onnx"}
                self.assertGreater(len(data), 1)
                self.assertLessEqual(max(data.values()), limit)
                self.assertEqual(set(locations(out / "model.onnx")), set(data))
                onnx.checker.check_model(str(out / "model.onnx"))
                self.same_model(out, ("-p", "int4", "--embeddings", "int8"))

    def test_dry_run_sizes_of_every_form(self):
        for name, options in {"threshold": ("--external-data-threshold", "0"), "split": ("--max-file-size", "3M"),
                              "inline": ("--external-data-threshold", "1G"), "plain": ()}.items():
            for precision in ("int4", "int8", "fp16", "bf16", "fp32"):
                with self.subTest(form=name, precision=precision):
                    options = ("-p", precision, *options)
                    out = support.cached(support.BF16, options)
                    before = set(pathlib.Path(out).parent.iterdir())
                    planned = support.report(support.BF16, "-o", out.parent / "dry", "--dry-run", *options)
                    self.assertEqual({f["path"]: f["size_bytes"] for f in planned["files"]}, support.files_of(out))
                    self.assertEqual(planned["output_bytes"], sum(support.files_of(out).values()))
                    self.assertEqual(set(pathlib.Path(out).parent.iterdir()), before)

    def test_report_file_equals_json(self):
        path = support.scratch("report.json")
        done = support.run("quantize", support.FP32, "-o", support.scratch("out"), "-p", "int4", "--report", path, "--json")
        self.assertEqual(json.loads(path.read_text()), json.loads(done.stdout))


class Determinism(unittest.TestCase):
    """The bytes depend on the input and the options, on nothing else."""

    CASES = ("int4-symmetric-32", "int4-asymmetric-128", "int4-k_quant-32", "int4-rtn-asymmetric", "int4-hqq-64",
             "int4-search-32", "int8-symmetric-32", "int4-qdq-asymmetric-32", "int8-qdq_channel-symmetric",
             "int8-qdq_tensor-asymmetric", "int4-embeddings-int4", "dynamic-asymmetric", "fp16", "bf16", "fp32")

    def assert_same(self, name, *more, env=None):
        wanted = support.digest(support.cached(support.BF16, cases.ALL[name]))
        self.assertEqual(wanted, support.digest(support.quantize(support.BF16, *cases.ALL[name], *more, env=env)))

    def test_threads(self):
        for name in self.CASES:
            for threads in (1, 2, 7):
                with self.subTest(case=name, threads=threads):
                    self.assert_same(name, "--threads", threads)

    def test_memory_bound(self):
        for name in self.CASES:
            with self.subTest(case=name):
                self.assert_same(name, "--max-memory", "16M")

    def test_without_measuring(self):
        for name in self.CASES:
            with self.subTest(case=name):
                self.assert_same(name, "--no-measure-error")

    def test_every_instruction_set(self):
        targets = [t["name"] for t in json.loads(support.run("list", "--json").stdout)["simd_targets"]]
        self.assertGreater(len(targets), 1)
        for target in targets:
            for name in self.CASES:
                with self.subTest(case=name, target=target):
                    self.assert_same(name, env={"PHIQUANT_SIMD": target})

    def test_path_and_environment(self):
        folder = support.scratch("ein Ordner mit Ü")
        folder.mkdir()
        for file in support.BF16.iterdir():
            os.link(file, folder / file.name) if os.stat(file).st_dev == os.stat(folder).st_dev else \
                (folder / file.name).write_bytes(file.read_bytes())
        wanted = support.digest(support.cached(support.BF16, ("-p", "int4")))
        found = support.quantize(folder, "-p", "int4", env={"TZ": "Asia/Tokyo", "LC_ALL": "C", "HOME": "/nonexistent"})
        self.assertEqual(wanted, support.digest(found))


if __name__ == "__main__":
    unittest.main()
