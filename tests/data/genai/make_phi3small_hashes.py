#!/usr/bin/env python3
"""Makes tests/data/genai/phi3small.json: what ONNX Runtime GenAI's model builder makes of the tiny Phi-3-small, in brief.

    make_phi3small_hashes.py OUT.json        needs torch, transformers, tokenizers and onnxruntime-genai

Per variant and target: phiquant's options for the same thing, the first 16 hex digits of each tensor's SHA-256, and
genai_config.json. Made with onnxruntime-genai 0.18.0 and transformers 5.23.0, which need some help with this model:

- the builder wants original_max_position_embeddings, which the published 8k config does not have;
- its class for the 128k model does not read rotary factors; the one for Phi-3-mini does and lends its reader, which knows
  them by the name longrope;
- transformers 5 makes a rope_theta of None, which the builder prefers to rope_embedding_base.

A stand-in for the modelling code holds the weights: the builder never runs them.
"""
import argparse
import hashlib
import json
import os
import pathlib
import sys
import tempfile
import textwrap

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "tests/data/checkpoints"), str(ROOT / "tests/runtime")]
import genai_graph  # noqa: E402
import make_phi3small as maker  # noqa: E402

VARIANTS = {"8k": {}, "128k": {"longrope": True}}
TARGETS = ("cpu-fp32", "cpu-int4", "cpu-int8", "cuda-fp16", "cuda-bf16", "cuda-int4", "cuda-int8")

STAND_IN = textwrap.dedent("""\
    from torch.nn import Embedding, LayerNorm, Linear, Module, ModuleList
    from transformers import PreTrainedConfig, PreTrainedModel

    class Phi3SmallConfig(PreTrainedConfig):
        model_type = "phi3small"
        def __init__(self, rope_scaling=None, **fields):
            super().__init__(**fields)
            for name, value in fields.items():
                if not hasattr(self, name):
                    setattr(self, name, value)
            if rope_scaling:
                self.rope_scaling = rope_scaling
        intermediate_size = property(lambda self: self.ff_intermediate_size)

    def holder(**modules):
        out = Module()
        for name, module in modules.items():
            setattr(out, name, module)
        return out

    class Phi3SmallDecoderLayer(Module):
        def __init__(self, c):
            super().__init__()
            head = c.hidden_size // c.num_attention_heads
            rows = (c.num_attention_heads + 2 * c.num_key_value_heads) * head
            self.input_layernorm = LayerNorm(c.hidden_size)
            self.self_attn = holder(query_key_value=Linear(c.hidden_size, rows), dense=Linear(c.hidden_size, c.hidden_size))
            self.post_attention_layernorm = LayerNorm(c.hidden_size)
            self.mlp = holder(up_proj=Linear(c.hidden_size, 2 * c.ff_intermediate_size),
                              down_proj=Linear(c.ff_intermediate_size, c.hidden_size))

    class Phi3SmallForCausalLM(PreTrainedModel):
        config_class = Phi3SmallConfig
        base_model_prefix = "model"
        _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}
        def __init__(self, c):
            super().__init__(c)
            self.model = holder(embed_tokens=Embedding(c.vocab_size, c.hidden_size),
                                layers=ModuleList([Phi3SmallDecoderLayer(c) for _ in range(c.num_hidden_layers)]),
                                final_layernorm=LayerNorm(c.hidden_size))
            self.lm_head = Linear(c.hidden_size, c.vocab_size, bias=False)
            self.post_init()
        def get_input_embeddings(self):
            return self.model.embed_tokens
        def get_output_embeddings(self):
            return self.lm_head
    """)


def prepare(folder, options):
    """The checkpoint with what the builder needs around it."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast
    maker.make(folder, **options)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["auto_map"] = {"AutoConfig": "modeling_phi3_small.Phi3SmallConfig",
                          "AutoModelForCausalLM": "modeling_phi3_small.Phi3SmallForCausalLM"}
    config["tie_word_embeddings"] = True                # the default of the published configuration class
    config["dummy_token_indices"] = maker.DUMMY_TOKENS      # there a property that asks the tokenizer
    config.setdefault("original_max_position_embeddings", config["max_position_embeddings"])
    if "rope_scaling" in config:
        config["rope_scaling"] |= {"type": "longrope", "rope_type": "longrope"}
        config["rope_theta"] = config["rope_embedding_base"]
    path.write_text(json.dumps(config))
    (folder / "modeling_phi3_small.py").write_text(STAND_IN)
    words = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>").save_pretrained(folder)


def build(source, target, out):
    from onnxruntime_genai.models import builder
    longrope = builder.Phi3SmallLongRoPEModel
    longrope.make_rope_init = vars(sys.modules[longrope.__module__])["Phi3MiniLongRoPEModel"].make_rope_init
    provider, precision = target.split("-")
    common = ("", str(source), str(out), precision, provider, str(out.parent / "cache"))
    builder.create_model(*common, **builder.parse_extra_options(*common, ["hf_remote=true"]))


def describe(target, folder):
    import onnx
    provider, precision = target.split("-")
    model = onnx.load(str(folder / "model.onnx"))
    return {"options": ["--target", provider, "-p", precision],
            "tensors": {name: hashlib.sha256(data).hexdigest()[:16] for name, data in genai_graph.tensors(model).items()
                        if not genai_graph.is_rope_table(name)},
            "config": json.loads((folder / "genai_config.json").read_text())}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    args = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    table = {}
    with tempfile.TemporaryDirectory() as scratch:
        # Modules that transformers loads from here leave with the rest.
        os.environ["HF_MODULES_CACHE"] = scratch + "/modules"
        for variant, options in VARIANTS.items():
            source = pathlib.Path(scratch) / variant
            prepare(source, options)
            for target in TARGETS:
                out = pathlib.Path(scratch) / f"{variant}-{target}"
                build(source, target, out)
                table.setdefault(variant, {})[target] = describe(target, out)
    args.out.write_text(json.dumps(table, separators=(",", ":")) + "\n")
    print({variant: len(targets) for variant, targets in table.items()})


if __name__ == "__main__":
    main()
