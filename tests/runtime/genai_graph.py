"""What the GenAI tests and tools/make_genai_hashes.py share: where checkpoints are, and a digest of a graph."""
import hashlib
import pathlib

import onnx

ROOT = pathlib.Path(__file__).resolve().parents[2]


def checkpoint(name):
    """The folder of a bundled checkpoint."""
    example = ROOT / "examples" / name
    return example if example.is_dir() else ROOT / "tests/data/checkpoints" / name


def is_rope_table(name):
    return "cos_cache" in name or "sin_cache" in name


def _attribute(a):
    if a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.TENSOR):
        return None
    # The builder writes 1e-6 for Phi-2, whatever its config says; the tests look at epsilon on its own.
    return None if a.name == "epsilon" else (a.name, str(onnx.helper.get_attribute_value(a)))


def _value(info):
    t = info.type.tensor_type
    return info.name, t.elem_type, [d.dim_param or d.dim_value for d in t.shape.dim]


def digest(graph):
    """SHA-256 over nodes (without order, tensors and epsilon), inputs and outputs."""
    nodes = sorted(str((n.op_type, n.domain, n.name, list(n.input), list(n.output),
                        sorted(filter(None, map(_attribute, n.attribute))))) for n in graph.node)
    text = "\n".join([*nodes, *(str(_value(v)) for v in [*graph.input, *graph.output])])
    return hashlib.sha256(text.encode()).hexdigest()


def tensors(model):
    """Name -> bytes of every initializer, and of the Constants inside an If."""
    out = {t.name: t.raw_data for t in model.graph.initializer}
    for node in model.graph.node:
        for a in node.attribute:
            if a.type == onnx.AttributeProto.GRAPH:
                for inner in a.g.node:
                    out[inner.output[0]] = inner.attribute[0].t.raw_data
    return out
