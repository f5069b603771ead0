#!/usr/bin/env python3
"""Writes the seed files of the fuzzer of importance matrices: both formats, a few hundred bytes each.

usage: make_imatrix_corpus.py FOLDER
"""
import pathlib
import struct
import sys

U32, TEXT, ARRAY = 4, 8, 9


def text(value):
    return struct.pack("<Q", len(value)) + value.encode()


def gguf(keys, tensors, version=3):
    """tensors: name, dimensions (innermost first), values in float32."""
    infos, data = b"", b""
    for name, dims, values in tensors:
        infos += text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, 0, len(data))
        data += struct.pack(f"<{len(values)}f", *values)
        data += bytes(-len(data) % 32)
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys)) + b"".join(keys) + infos
    return head + bytes(-len(head) % 32) + data


def records(entries, trailer=b""):
    """entries: name, calls, values."""
    out = struct.pack("<i", len(entries))
    for name, calls, values in entries:
        out += struct.pack("<i", len(name)) + name.encode()
        out += struct.pack(f"<ii{len(values)}f", calls, len(values), *values)
    return out + trailer


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    keys = [text("general.type") + struct.pack("<I", TEXT) + text("imatrix"),
            text("imatrix.datasets") + struct.pack("<IIQ", ARRAY, TEXT, 1) + text("calib.txt"),
            text("imatrix.chunk_count") + struct.pack("<II", U32, 40),
            text("imatrix.chunk_size") + struct.pack("<II", U32, 256)]
    weight = [("blk.0.attn_q.weight.in_sum2", (4, 1), (2, 4, 6, 8)), ("blk.0.attn_q.weight.counts", (1, 1), (2,))]
    experts = [("blk.0.ffn_up_exps.weight.in_sum2", (3, 2), (2, 4, 6, 9, 9, 9)),
               ("blk.0.ffn_up_exps.weight.counts", (1, 2), (2, 0))]
    trailer = struct.pack("<ii", 40, 9) + b"calib.txt"
    entries = [("a.weight", 4, (2, 6)), ("b.weight", 0, (5,))]
    seeds = {
        "weight.gguf": gguf(keys, weight),
        "experts.gguf": gguf(keys[:1], weight + experts),
        "version2.gguf": gguf([], weight, version=2),
        "no_counts.gguf": gguf(keys, weight[:1]),
        "model.gguf": gguf([], [("token_embd.weight", (4, 2), range(8))]),
        "records.dat": records(entries, trailer),
        "chunks.dat": records(entries, trailer[:4]),
        "bare.dat": records(entries),
        "zero.dat": records([("a", 1, (0, 0, 0))]),
    }
    for name, data in seeds.items():
        (out / name).write_bytes(data)
    print(len(seeds), "files,", sum(len(d) for d in seeds.values()), "bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
