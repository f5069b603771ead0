#!/usr/bin/env python3
"""Makes the small ONNX models of tests/data/models (needs the onnx Python package; see tests/requirements.txt).

    make_models.py [FOLDER]

The same bytes each time: weights come from a fixed seed. The bad-* models each break one rule; what the tool must say
about them is in tests/cli/cases.
"""
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HIDDEN, VOCAB = 64, 96


def weight(name, shape, seed):
    values = np.random.default_rng(seed).normal(0, 0.05, shape).astype(np.float32)
    return numpy_helper.from_array(values, name)


def model(nodes, initializers, inputs, outputs, opset=21, **kwargs):
    graph = helper.make_graph(nodes, "test", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10,
                             producer_name="make_test_models", **kwargs)


def float_io(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def tiny():
    """Embedding, MatMul, Gemm with transB, lm_head: one node of each kind that can be quantized."""
    nodes = [
        helper.make_node("Gather", ["embed.weight", "input_ids"], ["x0"], "/embed/Gather"),
        helper.make_node("MatMul", ["x0", "up.weight"], ["x1"], "/mlp/up/MatMul"),
        helper.make_node("Relu", ["x1"], ["x2"], "/mlp/act/Relu"),
        helper.make_node("Gemm", ["x2", "down.weight", "down.bias"], ["x3"], "/mlp/down/Gemm", transB=1),
        helper.make_node("MatMul", ["x3", "lm_head.weight"], ["logits"], "/lm_head/MatMul"),
    ]
    weights = [weight("embed.weight", (VOCAB, HIDDEN), 1), weight("up.weight", (HIDDEN, 128), 2),
               weight("down.weight", (HIDDEN, 128), 3), weight("down.bias", (HIDDEN,), 4),
               weight("lm_head.weight", (HIDDEN, VOCAB), 5)]
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["tokens"])
    return model(nodes, weights, [ids], [float_io("logits", ["tokens", VOCAB])])


def one_matmul(w, k=64, n=32, opset=21):
    return model([helper.make_node("MatMul", ["x", "w"], ["y"], "/MatMul")], [w],
                 [float_io("x", ["rows", k])], [float_io("y", ["rows", n])], opset)


def external(location, offset=None, length=None, shape=(64, 32)):
    """One MatMul whose weight lies in an external file; nothing is checked here."""
    w = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=shape, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        if value is not None:
            w.external_data.add(key=key, value=str(value))
    return one_matmul(w, *shape)


def changed(seed, change):
    """Two MatMuls: `change` alters the weight w of the first in place; v stays sound."""
    values = numpy_helper.to_array(weight("w", (64, 32), seed)).copy()
    change(values)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"], "/first/MatMul"),
             helper.make_node("MatMul", ["h", "v"], ["y"], "/second/MatMul")]
    return model(nodes, [numpy_helper.from_array(values, "w"), weight("v", (32, 64), seed + 100)],
                 [float_io("x", ["rows", 64])], [float_io("y", ["rows", 64])])


def put(index, value):
    def change(values):
        values.flat[index] = value
    return change


def raw(dims, data_type=TensorProto.FLOAT, data=b"\0" * 8192):
    return one_matmul(TensorProto(name="w", data_type=data_type, dims=dims, raw_data=data))


def sparse(file_count, rows, columns):
    """A chain of MatMuls over one large external file: the test makes the file with truncate, so it costs no disk."""
    nodes, weights = [], []
    for i in range(file_count):
        w = TensorProto(name=f"w{i}", data_type=TensorProto.FLOAT, dims=[rows, columns],
                        data_location=TensorProto.EXTERNAL)
        size = rows * columns * 4
        for key, value in (("location", "sparse.data"), ("offset", i * size), ("length", size)):
            w.external_data.add(key=key, value=str(value))
        weights.append(w)
        nodes.append(helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"x{i + 1}"], f"/{i}/MatMul"))
    return model(nodes, weights, [float_io("x0", ["rows", rows])], [float_io(f"x{file_count}", ["rows", columns])])


def nothing():
    return model([helper.make_node("Add", ["x", "b"], ["y"], "/Add")],
                 [numpy_helper.from_array(np.arange(4, dtype=np.int64), "b")],
                 [helper.make_tensor_value_info("x", TensorProto.INT64, [4])],
                 [helper.make_tensor_value_info("y", TensorProto.INT64, [4])])


def models():
    good = np.random.default_rng(7).normal(0, 0.05, (64, 32)).astype(np.float32)
    yield "tiny.onnx", tiny()
    yield "nothing.onnx", nothing()
    yield "external.onnx", external("weights.bin", 4096, 8192)
    yield "weights.bin", b"\0" * 4096 + good.tobytes()
    yield "sparse.onnx", sparse(4, 8192, 8192)            # 1 GiB of weights
    yield "nan.onnx", changed(11, put(70, np.nan))
    yield "inf.onnx", changed(12, put(5, -np.inf))
    yield "large-values.onnx", changed(13, put(3, 1e6))   # overflows float16
    yield "ragged.onnx", one_matmul(weight("w", (50, 32), 14), 50)
    yield "bad-missing.onnx", external("gone.bin", 0, 8192)
    yield "bad-short.onnx", external("weights.bin", 8192, 8192)
    yield "bad-absolute.onnx", external("/weights.bin", 0, 8192)
    yield "bad-climbs.onnx", external("../weights.bin", 0, 8192)
    yield "bad-negative-offset.onnx", external("weights.bin", -1, 8192)
    yield "bad-negative-length.onnx", external("weights.bin", 0, -8192)
    yield "bad-length.onnx", external("weights.bin", 0, 4096)
    yield "bad-past-end.onnx", external("weights.bin", 1 << 40, 8192)
    yield "bad-offset-text.onnx", external("weights.bin", "many", 8192)
    yield "bad-no-location.onnx", external(None, 0, 8192)
    yield "bad-shape-overflow.onnx", raw([1 << 33, 1 << 33])
    yield "bad-negative-dim.onnx", raw([-64, 32])
    yield "bad-dims-data.onnx", raw([64, 33])
    yield "bad-dtype.onnx", raw([64, 32], 99)
    yield "bad-opset.onnx", one_matmul(weight("w", (64, 32), 15), opset=9999)


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else
                          pathlib.Path(__file__).resolve().parent)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in models():
        data = content if isinstance(content, bytes) else content.SerializeToString(deterministic=True)
        (folder / name).write_bytes(data)
        print(f"{len(data):8} {name}")


if __name__ == "__main__":
    main()
