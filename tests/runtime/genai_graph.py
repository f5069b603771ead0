"""What the GenAI tests and the tools that make their data share: checkpoints, digests, generation, rotary tables."""
import functools
import hashlib
import pathlib

import numpy as np
import onnx

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROPE_TABLES = ROOT / "tests/data/genai/rope_tables.npz"


def checkpoint(name):
    """The folder of a bundled checkpoint."""
    example = ROOT / "examples" / name
    return example if example.is_dir() else ROOT / "tests/data/checkpoints" / name


def digest_of(data):
    """The first 16 hex digits of the SHA-256: how tensors are recorded."""
    return hashlib.sha256(data).hexdigest()[:16]


def greedy(folder, prompt, tokens=64):
    """What onnxruntime-genai generates."""
    import onnxruntime_genai as og
    model = og.Model(str(folder))
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=len(prompt) + tokens, min_length=len(prompt) + tokens, do_sample=False)
    generator = og.Generator(model, params)
    generator.append_tokens(np.array([prompt], np.int32))
    while not generator.is_done():
        generator.generate_next_token()
    return [int(t) for t in generator.get_sequence(0)][len(prompt):]


def inverse_frequencies(config, factors=None):
    """1 / (factor * theta^(2i / dims)), each step a float32; the power is the nearest one."""
    dims = int(config.get("partial_rotary_factor", 1) * (config["hidden_size"] // config["num_attention_heads"]))
    exponents = np.arange(0, dims, 2, dtype=np.float32) / np.float32(dims)
    powers = np.power(float(config["rope_theta"]), exponents.astype(np.float64)).astype(np.float32)
    return np.float32(1) / (np.asarray(1 if factors is None else factors, np.float32) * powers)


def nearest(kind, length, inverse):
    """Cosine or sine of position times inverse frequency, that product a float: the nearest floats."""
    angles = np.arange(length, dtype=np.float32)[:, None] * inverse
    return getattr(np, kind)(angles.astype(np.float64)).astype(np.float32)


@functools.lru_cache(maxsize=None)
def rope_data():
    return np.load(ROPE_TABLES)


def builders_table(name, branch, kind):
    """The model builder's float32 table of a checkpoint, before its rounding to 16 bits."""
    data, at = rope_data(), f"{name}/{branch}"
    values = nearest(kind, int(data[f"{at}/length"]), data[f"{at}/inverse"]) * data[f"{at}/scale"]
    values = (values.view(np.int32) + data[f"{at}/{kind}"]).view(np.float32)
    if digest_of(values.tobytes()) != str(data[f"{at}/{kind}_sha256"]):
        raise AssertionError(f"{at}/{kind} is not the builder's table: numpy's {kind} rounds differently here")
    return values


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
