"""The command lines of the net, from tables. A word that begins with @ is an input: @phi3-tiny, @made/q4.gguf."""
import dataclasses
import itertools
import random
import re

from net import words as w


@dataclasses.dataclass
class Case:
    name: str
    args: list
    every_way: bool = False  # whatever the threads, the memory and the instruction set
    keep: str = ""  # this output becomes @made/KEEP

    def needs(self):
        return {"made/" + name for a in self.args for name in re.findall(r"@made/([^/]+)", a)}

    @property
    def level(self):
        return 2 if not self.name.startswith("made/") else int(bool(self.needs()))


def quantize(name, source, options, out="", **more):
    if not out:
        one_file = "--format gguf" in options and "--max-file-size" not in options
        out = "out.gguf" if one_file else "out"
    return Case(name, ["quantize", f"@{source}", "-o", out, *options.split(), "--report", "report.json",
                       "--threads", "1"], **more)


def made():
    """Outputs that other cases read."""
    for name, (source, options) in w.MADE.items():
        yield quantize(f"made/{name}", source, options, name, keep=name)


def real():
    """Conversions of every checkpoint."""
    for model in w.CHECKPOINTS:
        for target, recipe, p in itertools.product(w.TARGETS, w.RECIPES, w.PRECISIONS):
            yield quantize(f"real/{model}/genai/{target}/{recipe}/{p}", model,
                           f"-p {p} --target {target} --recipe {recipe}")
        for p, style in itertools.product(w.PRECISIONS, ("contrib", "qdq")):
            yield quantize(f"real/{model}/onnx/{style}/{p}", model, f"-p {p} --format onnx --style {style}")
        for p, target in itertools.product(w.PRECISIONS, ("cpu", "qnn")):
            yield quantize(f"real/{model}/onnx/fixed/{target}/{p}", model,
                           f"-p {p} --format onnx --target {target} --sequence-length 32")
        for p, format in itertools.product(w.PRECISIONS, ("gguf", "mlx")):
            yield quantize(f"real/{model}/{format}/{p}", model, f"-p {p} --format {format}")
        yield quantize(f"real/{model}/by-suffix/gguf", model, "-p int4", "out.gguf")
        yield quantize(f"real/{model}/by-suffix/onnx", model, "-p int4 --format onnx", "out.onnx")
        for scheme in w.BLOCK_SCHEMES:
            for p in ("int4", "int8"):
                yield quantize(f"scheme/{model}/genai/{scheme}/{p}", model, f"-p {p} --scheme {scheme}")
        for scheme in w.GRAPH_SCHEMES + ["qdq", "k_quant"]:
            p = scheme if scheme in w.PRECISIONS else "int4" if scheme in ("qdq", "k_quant") else "int8"
            yield quantize(f"scheme/{model}/onnx/{scheme}", model, f"-p {p} --format onnx --scheme {scheme}")
        for scheme in w.GGUF_SCHEMES:
            yield quantize(f"scheme/{model}/gguf/{scheme}", model, f"--format gguf --scheme {scheme}")
        for scheme in w.MLX_SCHEMES:
            yield quantize(f"scheme/{model}/mlx/{scheme}", model, f"--format mlx --scheme {scheme}")
        for format, lines in w.OPTIONS.items():
            for options in lines:
                own = options if model == "phi3-tiny" else options.replace("imatrix.gguf", f"imatrix/{model}.dat")
                yield quantize(f"option/{model}/{format}/{options}", model, f"--format {format} {own}")


def onnx_models():
    for model in w.ONNX_MODELS:
        for options in w.ONNX_OPTIONS:
            yield quantize(f"onnx/{model}/{options}", model, options)
    for model in w.BAD_ONNX:
        for p in w.PRECISIONS:
            yield quantize(f"onnx/{model}/{p}", model, f"-p {p}")


def chains():
    for name in w.MADE:
        for options in w.CHAIN_OPTIONS[w.kind(name)]:
            yield quantize(f"chain/{name}/{options}", f"made/{name}", options)


def looks():
    """inspect and compare."""
    everything = w.CHECKPOINTS + w.ONNX_MODELS + w.BAD_ONNX + w.OTHER_INPUTS + [f"made/{n}" for n in w.MADE]
    for name in everything:
        yield Case(f"inspect/{name}", ["inspect", f"@{name}", "--json"])
        yield Case(f"inspect/{name}/text", ["inspect", f"@{name}", "-v"])
    for family, members in w.FAMILIES.items():
        for a, b in itertools.combinations(members, 2):
            yield Case(f"compare/{a} {b}", ["compare", f"@{a}", f"@{b}", "--json", "--threads", "1"])
        first, last = f"@{members[0]}", f"@{members[-1]}"
        yield Case(f"compare/{family}/text", ["compare", first, last, "--threads", "1"])
        yield Case(f"compare/{family}/reversed", ["compare", last, first, "--threads", "1"])
        yield Case(f"compare/{family}/fail", ["compare", first, last, "--fail-below-sqnr", "60"])
    yield Case("compare/unrelated", ["compare", "@phi3-tiny", "@models/tiny.onnx"])


def dry(name, source, options):
    return Case(name, ["quantize", *([f"@{source}"] if source else []), *options.split(), "--dry-run"])


def combinations():
    """Pairs and triples of options, most of them refused."""
    for subject, (source, base) in w.SUBJECTS.items():
        for option in w.WORDS + w.ALONE:
            yield dry(f"single/{subject}/{option}", source, f"{base} {option}")
            for p in w.PRECISIONS[1:]:
                yield dry(f"single/{subject}/{p}/{option}", source, f"{base} -p {p} {option}")
        pairs = [(a, b) for a, b in itertools.combinations(w.WORDS, 2) if a.split()[0] != b.split()[0]]
        for a, b in pairs:
            yield dry(f"pair/{subject}/{a} {b}", source, f"{base} {a} {b}")
        chance = random.Random(subject)  # the same ones each time
        for _ in range(w.TRIPLES):
            a, b = chance.choice(pairs)
            c, p = chance.choice(w.WORDS), chance.choice(w.PRECISIONS)
            yield dry(f"triple/{subject}/-p {p} {a} {b} {c}", source, f"{base} -p {p} {a} {b} {c}")
    for model in w.DECIDING:
        for target, recipe, p, option in itertools.product(w.TARGETS, w.RECIPES, ("int4", "int8"), w.GENAI_WORDS):
            yield dry(f"triple/{model}/{target}/{recipe}/{p}/{option}", model,
                      f"-o out --target {target} --recipe {recipe} -p {p} {option}")


def lines():
    """Whole command lines: help, lists, wrong words."""
    for text in w.LINES:
        yield Case(f"line/{text or 'nothing'}", text.split())
    for scheme in w.NEAR_SCHEMES:
        for subject, (source, base) in w.SUBJECTS.items():
            yield dry(f"line/near/{subject}/{scheme}", source, f"{base} --scheme {scheme}")
    for value in w.BAD_VALUES:
        for subject in ("genai", "gguf", "model"):
            source, base = w.SUBJECTS[subject]
            yield dry(f"line/value/{subject}/{value}", source, f"{base} {value}")


def variants():
    for model, options in itertools.product(w.VARIANTS, w.VARIANT_OPTIONS):
        key = model, options
        group = "fault" if key in w.FAULTS else "reason" if key in w.REASONS else "variant"
        yield quantize(f"{group}/{model}/{options}", model, options)


def same():
    for model, options in w.SAME:
        yield quantize(f"same/{model}/{options}", model, options, every_way=True)


def all_cases():
    out, seen = [], set()
    for group in (made, real, onnx_models, chains, looks, combinations, lines, variants, same):
        for case in group():
            if case.name not in seen:
                seen.add(case.name)
                out.append(case)
    return out


def from_record(name, args):
    """The case that a record holds, which need not be one of the tables any more."""
    group, rest = name.split("/", 1)
    return Case(name, args.split(), every_way=group == "same", keep=rest if group == "made" else "")
