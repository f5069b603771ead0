"""Every way to quantize that the runtime tests go through: name -> command-line options."""

BLOCKS = (16, 32, 64, 128, 256)


def _contrib(bits):
    cases = {}
    for symmetry in ("symmetric", "asymmetric"):
        for block in BLOCKS:
            cases[f"int{bits}-{symmetry}-{block}"] = ("-p", f"int{bits}", f"--{symmetry}", "--block-size", str(block))
    for block in BLOCKS:
        cases[f"int{bits}-k_quant-{block}"] = ("-p", f"int{bits}", "--scheme", "k_quant", "--block-size", str(block))
    for symmetry in ("symmetric", "asymmetric"):
        cases[f"int{bits}-rtn-{symmetry}"] = ("-p", f"int{bits}", "--scheme", "rtn", f"--{symmetry}")
    return cases


def _qdq():
    cases = {}
    for bits in (4, 8):
        for symmetry in ("symmetric", "asymmetric"):
            for block in BLOCKS:
                cases[f"int{bits}-qdq-{symmetry}-{block}"] = (
                    "-p", f"int{bits}", "--style", "qdq", "--scheme", "qdq", f"--{symmetry}", "--block-size", str(block))
    for scheme in ("qdq_channel", "qdq_tensor"):
        for symmetry in ("symmetric", "asymmetric"):
            cases[f"int8-{scheme}-{symmetry}"] = ("-p", "int8", "--style", "qdq", "--scheme", scheme, f"--{symmetry}")
    return cases


INT4 = {
    **_contrib(4),
    "int4-hqq-64": ("-p", "int4", "--scheme", "hqq", "--block-size", "64"),
    "int4-search-32": ("-p", "int4", "--search"),
    "int4-search-asymmetric-32": ("-p", "int4", "--search", "--asymmetric"),
    "int4-embeddings-int4": ("-p", "int4", "--embeddings", "int4"),
    **{k: v for k, v in _qdq().items() if k.startswith("int4")},
}
INT8 = {
    **_contrib(8),
    "int8-embeddings-int8": ("-p", "int8", "--embeddings", "int8"),
    **{k: v for k, v in _qdq().items() if k.startswith("int8")},
}
DYNAMIC = {
    "dynamic-symmetric": ("-p", "int8", "--scheme", "dynamic", "--symmetric"),
    "dynamic-asymmetric": ("-p", "int8", "--scheme", "dynamic", "--asymmetric"),
    "dynamic_channel-symmetric": ("-p", "int8", "--scheme", "dynamic_channel"),
}
FLOAT = {
    "fp16": ("-p", "fp16"),
    "fp16-io": ("-p", "fp16", "--no-keep-io-types"),
    "fp32": ("-p", "fp32"),
}
BF16 = {"bf16": ("-p", "bf16")}       # ONNX Runtime's CPU provider has no bf16 kernels: not run as it is
ALL = {**INT4, **INT8, **DYNAMIC, **FLOAT, **BF16}
