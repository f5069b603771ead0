"""ONNX Runtime's own quantizers, run in this process, as functions from a model file to a ModelProto."""
import contextlib
import io
import logging

import onnx
from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic
from onnxruntime.quantization.matmul_nbits_quantizer import (
    DefaultWeightOnlyQuantConfig,
    KQuantWeightOnlyQuantConfig,
    MatMulNBitsQuantizer,
    RTNWeightOnlyQuantConfig,
)
from onnxruntime.transformers.float16 import convert_float_to_float16

import support

logging.getLogger().setLevel(logging.ERROR)


def _bits(nodes, bits):
    return {name: {"bits": bits} for name in nodes}


def matmul_nodes(source):
    """Names of the MatMul nodes with a constant weight."""
    graph = support.Graph(support.load(source))
    return [n.name for n in graph.model.graph.node if n.op_type == "MatMul" and graph.constant(n.input[1])]


def _process(source, algo_config, block_size, symmetric):
    quantizer = MatMulNBitsQuantizer(support.load(source), block_size=block_size, is_symmetric=symmetric,
                                     accuracy_level=4, algo_config=algo_config)
    with contextlib.redirect_stdout(io.StringIO()):  # progress bars
        quantizer.process()
    return quantizer.model.model


def default(source, bits, block_size, symmetric, style="contrib"):
    config = DefaultWeightOnlyQuantConfig(
        block_size=block_size, is_symmetric=symmetric, accuracy_level=4, bits=bits,
        quant_format=QuantFormat.QDQ if style == "qdq" else QuantFormat.QOperator)
    return _process(source, config, block_size, symmetric)


def rtn(source, bits, block_size, symmetric):
    """Bits other than 4 can only be said node by node."""
    config = RTNWeightOnlyQuantConfig(customized_weight_config=_bits(matmul_nodes(source), bits))
    return _process(source, config, block_size, symmetric)


def k_quant(source, bits, block_size):
    config = KQuantWeightOnlyQuantConfig(customized_weight_config=_bits(matmul_nodes(source), bits))
    return _process(source, config, block_size, False)


def dynamic(source, per_channel, signed, op_types=("MatMul",)):
    out = support.scratch("peer.onnx")
    quantize_dynamic(support.perplexity.model_file(source), out, op_types_to_quantize=list(op_types),
                     per_channel=per_channel, weight_type=QuantType.QInt8 if signed else QuantType.QUInt8)
    return onnx.load(str(out))


def float16(source, keep_io_types):
    return convert_float_to_float16(support.load(source), keep_io_types=keep_io_types)


def save(model):
    """Writes a peer's model (small ones only) so that ONNX Runtime can open it."""
    path = support.scratch("peer.onnx")
    onnx.save(model, str(path))
    return path
