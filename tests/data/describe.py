"""What a model file holds, without its bytes: name, type, shape, size and SHA-256 of each tensor.

    describe.py FILE|FOLDER      prints JSON; FILE is .onnx, .gguf or .safetensors, a FOLDER has some of them

The reference folders of the makers beside this file are kept in this form. Needs onnx or gguf for their formats.
"""
import hashlib
import json
import pathlib
import struct
import sys


def row(kind, shape, data):
    return {"type": kind, "shape": [int(n) for n in shape], "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest()}


def safetensors(path):
    data = path.read_bytes()
    begin = 8 + struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8:begin])
    metadata = header.pop("__metadata__", {})
    body = data[begin:]
    return {"kv": metadata, "tensors": {name: row(t["dtype"], t["shape"], body[slice(*t["data_offsets"])])
                                        for name, t in sorted(header.items())}}


def gguf(path):
    """Long lists of the metadata (vocabularies) become their length and the SHA-256 of their JSON."""
    from gguf import GGUFReader

    def value(field):
        content = field.contents()
        if isinstance(content, list) and len(content) > 64:
            text = json.dumps(content, ensure_ascii=False)
            return {"length": len(content), "sha256": hashlib.sha256(text.encode()).hexdigest()}
        return content.item() if hasattr(content, "item") else content

    reader = GGUFReader(path)
    return {"kv": {name: value(field) for name, field in reader.fields.items()},
            "tensors": {t.name: row(t.tensor_type.name, t.shape, t.data.tobytes()) for t in reader.tensors}}


def tensors_of(graph):
    """Initializers and tensor attributes, those of subgraphs behind the name of their node."""
    yield from ((t.name, t) for t in graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield f"{node.name or node.output[0]}.{attribute.name}", attribute.t
            for inner in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                yield from ((f"{node.name}/{name}", t) for name, t in tensors_of(inner))


def onnx_file(path):
    import onnx
    model = onnx.load(str(path))
    return {"tensors": {name: row(onnx.TensorProto.DataType.Name(t.data_type), t.dims,
                                  t.raw_data or onnx.numpy_helper.to_array(t).tobytes())
                        for name, t in tensors_of(model.graph)}}


READERS = {".gguf": gguf, ".onnx": onnx_file, ".safetensors": safetensors}


def describe(path):
    path = pathlib.Path(path)
    if path.is_dir():
        return {p.name: describe(p) for p in sorted(path.iterdir()) if p.suffix in READERS}
    return READERS[path.suffix](path)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(json.dumps(describe(sys.argv[1]), indent=1, ensure_ascii=False))
