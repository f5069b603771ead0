#!/usr/bin/env python3
"""Makes the plain ONNX models of phi3-tiny: standard operators, opset 21, no cache, rotary factors for short texts.

    make_onnx_export.py float OUT    examples/phi3-tiny-onnx; needs torch 2.15.0, transformers 5.23.0,
                                     onnxscript 0.7.2
    make_onnx_export.py bf16 OUT     tests/data/phi3-tiny-bf16w: that graph, its large weights as bfloat16
                                     behind a Cast; needs onnx 1.23.2
"""
import os
import pathlib
import sys

import onnx

os.environ["HF_HUB_OFFLINE"] = "1"
EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"


def export(out):
    import torch
    from transformers import AutoModelForCausalLM
    torch.set_num_threads(1)
    causal = AutoModelForCausalLM.from_pretrained(EXAMPLES / "phi3-tiny", dtype=torch.float32,
                                                  attn_implementation="eager").eval()
    causal.config.use_cache = False

    class Plain(torch.nn.Module):
        """The model with mask and rotation written out: the exporter cannot follow how transformers chooses them."""
        def __init__(self):
            super().__init__()
            self.m = causal
            rotary = causal.model.rotary_emb
            self.register_buffer("inv", rotary.inv_freq.detach().clone().float(), persistent=False)
            self.scale = float(rotary.attention_scaling)

        def forward(self, input_ids, attention_mask):
            length, x = input_ids.shape[1], self.m.model.embed_tokens(input_ids)
            positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
            angles = positions[:, :, None].float() * self.inv[None, None]
            angles = torch.cat((angles, angles), -1)
            rotation = (angles.cos() * self.scale).to(x.dtype), (angles.sin() * self.scale).to(x.dtype)
            steps = torch.arange(length, device=x.device)
            visible = (steps[None, :] <= steps[:, None])[None, None] & (attention_mask[:, None, None, :] > 0)
            mask = torch.where(visible, torch.zeros((), dtype=x.dtype), torch.full((), -10000.0, dtype=x.dtype))
            for layer in self.m.model.layers:
                y = layer(x, attention_mask=mask, position_ids=positions, position_embeddings=rotation, use_cache=False)
                x = y[0] if isinstance(y, tuple) else y
            return self.m.lm_head(self.m.model.norm(x))

    ids = torch.arange(2, 26)[None].repeat(2, 1)
    axes = {0: torch.export.Dim("batch", min=1, max=64), 1: torch.export.Dim("sequence", min=2, max=512)}
    with torch.no_grad():
        program = torch.onnx.export(Plain().eval(), (ids, torch.ones_like(ids)), dynamo=True, external_data=True,
                                    optimize=True, input_names=["input_ids", "attention_mask"], output_names=["logits"],
                                    dynamic_shapes=(axes, axes), opset_version=21, verbose=False)
    program.save(str(out / "model.onnx"), external_data=True)
    model = onnx.load(str(out / "model.onnx"), load_external_data=False)
    graph = model.graph
    # The exporter notes the source lines of this machine.
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    (out / "model.onnx").write_bytes(model.SerializeToString())


def bf16(out):
    import ml_dtypes
    model = onnx.load(str(EXAMPLES / "phi3-tiny-onnx/model.onnx"))
    casts = []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if tensor.data_type != onnx.TensorProto.FLOAT or values.size < 200:
            continue
        name, stored = tensor.name, tensor.name + ".bf16"
        tensor.CopyFrom(onnx.TensorProto(name=stored, data_type=onnx.TensorProto.BFLOAT16, dims=tensor.dims,
                                         raw_data=values.astype(ml_dtypes.bfloat16).tobytes()))
        casts.append(onnx.helper.make_node("Cast", [stored], [name], name=name + ".cast", to=onnx.TensorProto.FLOAT))
    nodes = casts + list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save_model(model, str(out / "model.onnx"), save_as_external_data=True, all_tensors_to_one_file=True,
                    location="model.onnx.data", size_threshold=1024, convert_attribute=False)


if __name__ == "__main__":
    kinds = {"float": export, "bf16": bf16}
    if len(sys.argv) != 3 or sys.argv[1] not in kinds:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("model.onnx*"):
        old.unlink()
    kinds[sys.argv[1]](folder)
