#!/usr/bin/env python3
"""Writes an ONNX model with the weights of Phi-3.5-mini (names, shapes, [in, out] order) and seeded random values.

    make_model.py OUT                        4 layers: 0.65 G parameters, 2.6 GB of fp32
    make_model.py OUT --layers 32            3.8 G parameters, 15.3 GB
    make_model.py OUT --layers 1 --inline    weights inside model.onnx (below protobuf's 2 GiB)

The graph runs but is a stand-in: projections, gated MLP and residuals, no attention and no normalization. A
quantizer sees what it sees in an exported Phi. Needs numpy and onnx; memory stays below 200 MB unless --inline.
"""
import argparse
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper

HIDDEN, INTERMEDIATE, VOCABULARY = 3072, 8192, 32064
TYPES = {"fp32": (TensorProto.FLOAT, 4), "fp16": (TensorProto.FLOAT16, 2), "bf16": (TensorProto.BFLOAT16, 2)}
CHUNK = 1 << 21  # values


def to_bytes(values, dtype):
    """float32 values as little-endian bytes of dtype; bf16 rounds half to even (the values are finite)."""
    if dtype == "fp32":
        return values.tobytes()
    if dtype == "fp16":
        return values.astype(np.float16).tobytes()
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16).tobytes()


class Values:
    """Normal values of deviation 0.02, one in 16384 of them twelve times larger, as outlier weights are.

    Drawing 3.8 G normal values takes minutes. One pool is drawn; every chunk is the pool turned by a random amount
    and scaled by a random factor, so that no two chunks are alike.
    """

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.pool = self.random.standard_normal(CHUNK, dtype=np.float32) * np.float32(0.02)
        self.pool[self.random.integers(0, CHUNK, CHUNK // 16384)] *= 12

    def chunks(self, count):
        while count:
            turn = int(self.random.integers(CHUNK))
            factor = np.float32(self.random.uniform(0.8, 1.25))
            chunk = np.concatenate((self.pool[turn:], self.pool[:turn]))[:count] * factor
            yield chunk
            count -= chunk.size


class Weights:
    """Initializers whose bytes go to `data` as they are made, or into the tensor where data is None."""

    def __init__(self, data, dtype, seed):
        self.data, self.dtype, self.values = data, dtype, Values(seed)
        self.tensors = []

    def add(self, name, shape):
        kind, item = TYPES[self.dtype]
        count = int(np.prod(shape))
        tensor = TensorProto(name=name, data_type=kind, dims=shape)
        if self.data is None:
            tensor.raw_data = b"".join(to_bytes(c, self.dtype) for c in self.values.chunks(count))
        else:
            entries = {"location": "model.onnx.data", "offset": self.data.tell(), "length": count * item}
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in entries.items():
                tensor.external_data.add(key=key, value=str(value))
            for chunk in self.values.chunks(count):
                self.data.write(to_bytes(chunk, self.dtype))
        self.tensors.append(tensor)
        return name


class Graph:
    def __init__(self):
        self.nodes = []

    def add(self, op, inputs, outputs=1, **attributes):
        name = f"{op}_{len(self.nodes)}"
        names = [f"{name}_out{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, name=name, **attributes))
        return names[0] if outputs == 1 else names


def add_layer(graph, weights, i, x):
    """One decoder layer on x [batch, sequence, HIDDEN]; a sigmoid gate stands where attention would be."""
    prefix = f"model.layers.{i}."
    qkv = graph.add("MatMul", [x, weights.add(prefix + "self_attn.qkv_proj.MatMul.weight", (HIDDEN, 3 * HIDDEN))])
    q, k, v = graph.add("Split", [qkv, "thirds"], 3, axis=-1)
    mixed = graph.add("Add", [graph.add("Mul", [q, graph.add("Sigmoid", [k])]), v])
    out = graph.add("MatMul", [mixed, weights.add(prefix + "self_attn.o_proj.MatMul.weight", (HIDDEN, HIDDEN))])
    x = graph.add("Add", [x, out])
    both = graph.add("MatMul", [x, weights.add(prefix + "mlp.gate_up_proj.MatMul.weight", (HIDDEN, 2 * INTERMEDIATE))])
    gate, up = graph.add("Split", [both], 2, axis=-1, num_outputs=2)
    hidden = graph.add("Mul", [graph.add("Mul", [gate, graph.add("Sigmoid", [gate])]), up])
    down = graph.add("MatMul", [hidden, weights.add(prefix + "mlp.down_proj.MatMul.weight", (INTERMEDIATE, HIDDEN))])
    return graph.add("Add", [x, down])


def make(folder, layers, dtype="fp32", inline=False, seed=0):
    """Writes folder/model.onnx (and model.onnx.data); returns the path of model.onnx."""
    folder.mkdir(parents=True, exist_ok=True)
    data = None if inline else open(folder / "model.onnx.data", "wb")
    weights, graph = Weights(data, dtype, seed), Graph()
    weights.tensors.append(helper.make_tensor("thirds", TensorProto.INT64, [3], [HIDDEN] * 3))
    x = graph.add("Gather", [weights.add("model.embed_tokens.weight", (VOCABULARY, HIDDEN)), "input_ids"])
    for i in range(layers):
        x = add_layer(graph, weights, i, x)
    head = weights.add("lm_head.MatMul.weight", (HIDDEN, VOCABULARY))
    graph.nodes.append(helper.make_node("MatMul", [x, head], ["logits"], name="lm_head"))
    if data:
        data.close()
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])
    logits = helper.make_tensor_value_info("logits", TYPES[dtype][0], ["batch", "sequence", VOCABULARY])
    model = helper.make_model(helper.make_graph(graph.nodes, "phi-sized", [ids], [logits], weights.tensors),
                              opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString(deterministic=True))
    if not inline:
        onnx.checker.check_model(str(path))
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path, help="folder to write to")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--dtype", choices=list(TYPES), default="fp32")
    parser.add_argument("--inline", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    make(args.out, args.layers, args.dtype, args.inline, args.seed)


if __name__ == "__main__":
    main()
