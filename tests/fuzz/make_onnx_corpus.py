#!/usr/bin/env python3
"""Writes the seed models of the ONNX loader's fuzzer: one feature of the format each, a few kB at most.

usage: make_onnx_corpus.py FOLDER
"""
import pathlib
import struct
import sys

import onnx
from onnx import AttributeProto, TensorProto, helper

N = 256      # values of a tensor that is just large enough to be stripped as float32


def tensor(name="w", kind=TensorProto.FLOAT, dims=(N,), raw=None, **fields):
    t = TensorProto(name=name, data_type=kind, dims=dims, **fields)
    if raw is not None:
        t.raw_data = raw
    return t


def floats(n=N):
    return struct.pack(f"<{n}f", *(i * 0.25 - 8 for i in range(n)))


def model(*initializers, nodes=(), sparse=(), **fields):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 16])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(list(nodes), "g", [x], [y], initializer=list(initializers),
                              sparse_initializer=list(sparse))
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)], **fields)


def field(number, content):
    """A length-delimited field, by hand."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def external(name, location, **entries):
    t = tensor(name, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        t.external_data.add(key=key, value=str(value))
    return t


def seeds():
    """name -> bytes."""
    large = tensor(raw=floats())
    constant = helper.make_node("Constant", [], ["c"], value=tensor("", raw=floats()))
    inner = helper.make_graph([constant], "then", [], [], initializer=[large])
    function = helper.make_function("local", "f", ["a"], ["c"], [constant], [helper.make_opsetid("", 21)])
    yield "empty_graph", model()
    yield "inline", model(large, tensor("small", TensorProto.INT64, (2,), bytes(16)), doc_string="text")
    yield "linear", model(large, nodes=[helper.make_node("MatMul", ["x", "w"], ["y"], name="fc")])
    yield "constant", model(nodes=[constant, helper.make_node("Constant", [], ["s"], value_ints=[1, 2, 300])])
    yield "if", model(nodes=[helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)])
    yield "function", model(nodes=[helper.make_node("f", ["x"], ["y"], domain="local")], functions=[function])
    yield "external", model(external("w", "model.data", offset=64, length=1024), external("v", "model.data"))
    yield "strings", model(tensor("s", TensorProto.STRING, (3,), string_data=[b"one", b"", b"t" * 40]))
    yield "sparse", model(sparse=[helper.make_sparse_tensor(
        tensor("v", raw=floats()), tensor("i", TensorProto.INT64, raw=bytes(8 * N)), [4 * N])])
    yield "half_in_int32", model(tensor("h", TensorProto.FLOAT16, (512,), int32_data=[i * 31 for i in range(512)]))
    yield "nibbles", model(tensor("n", TensorProto.INT4, (2047,), bytes(1024)))
    yield "int64_data", model(tensor("i", TensorProto.INT64, (N,), int64_data=[(-3) ** (i % 40) for i in range(N)]))
    yield "double_data", model(tensor("d", TensorProto.DOUBLE, (N,), double_data=[i / 3 for i in range(N)]))
    yield "complex", model(tensor("z", TensorProto.COMPLEX64, (N,), float_data=[i / 3 for i in range(2 * N)]))
    many = helper.make_node("Custom", ["x"], ["y"])
    many.attribute.add(name="ts", type=AttributeProto.TENSORS, tensors=[large, tensor(dims=(0,))])
    many.attribute.add(name="gs", type=AttributeProto.GRAPHS, graphs=[inner])
    yield "attributes", model(nodes=[many])
    m = model(large, producer_name="producer", producer_version="1")
    helper.set_model_props(m, {"a": "b", "c": "d"})
    m.training_info.add().algorithm.CopyFrom(inner)
    m.graph.quantization_annotation.add(tensor_name="w").quant_parameter_tensor_names.add(key="SCALE", value="s")
    sequence = m.graph.value_info.add(name="seq").type.sequence_type.elem_type.map_type
    sequence.key_type = TensorProto.STRING
    sequence.value_type.tensor_type.elem_type = TensorProto.FLOAT
    yield "everything_else", m
    head = onnx.ModelProto(ir_version=10, opset_import=[helper.make_opsetid("", 21)]).SerializeToString()
    header = tensor().SerializeToString()
    unpacked = b"".join(b"\x25" + floats()[i:i + 4] for i in range(0, 4 * N, 4))
    yield "unpacked", head + field(7, field(5, header + unpacked))
    yield "raw_twice", head + field(7, field(5, header + field(9, bytes(1024)) + field(9, floats())))
    yield "merged", head + field(7, field(1, field(5, field(5, header) + field(5, field(9, floats())))))
    yield "graph_twice", head + field(7, field(5, large.SerializeToString())) + field(7, field(2, b"g"))
    group = b"\x83\x7d\x0b\x08\x01\x0c\x84\x7d"
    yield "unknown_fields", head + group + field(900, b"new") + field(7, field(5, large.SerializeToString() + group))


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in seeds():
        data = content if isinstance(content, bytes) else content.SerializeToString(deterministic=True)
        (folder / f"{name}.onnx").write_bytes(data)


if __name__ == "__main__":
    main()
