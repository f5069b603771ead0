"""llama.cpp through the library inside the xllamacpp wheel: loading a GGUF file, its tokenizer, logits.

The wheel exports llama.cpp's C functions, but no header. Parameter structs are passed as bytes: the library's own
defaults, with the few fields set that stand at the start of llama_context_params (include/llama.h, b11549); where
these no longer hold their known defaults, the layout has changed and Context refuses to guess.
"""
import ctypes
import functools
import importlib.util
import pathlib

import numpy as np

PARAMS_BYTES = 256  # more than either struct has; the callee reads its own part


class _Params(ctypes.Structure):
    # More than 16 bytes, so passed in memory, whatever its members are.
    _fields_ = [("words", ctypes.c_uint64 * (PARAMS_BYTES // 8))]

    def u32(self):
        return ctypes.cast(ctypes.byref(self), ctypes.POINTER(ctypes.c_uint32))


class _Batch(ctypes.Structure):
    _fields_ = [("n_tokens", ctypes.c_int32), ("token", ctypes.POINTER(ctypes.c_int32)),
                ("embd", ctypes.c_void_p), ("pos", ctypes.POINTER(ctypes.c_int32)),
                ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
                ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
                ("logits", ctypes.POINTER(ctypes.c_int8))]


LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_messages = []


@LOG
def _take_message(level, text, _):
    _messages.append(text.decode(errors="replace"))


@functools.lru_cache(maxsize=None)
def library():
    folder = pathlib.Path(importlib.util.find_spec("xllamacpp").origin).parent
    lib = ctypes.CDLL(str(next(folder.glob("xllamacpp*.so"))))
    pointer, i32, params = ctypes.c_void_p, ctypes.c_int32, _Params
    for name, result, arguments in (
            ("llama_model_default_params", params, []),
            ("llama_context_default_params", params, []),
            ("llama_model_load_from_file", pointer, [ctypes.c_char_p, params]),
            ("llama_init_from_model", pointer, [pointer, params]),
            ("llama_model_get_vocab", pointer, [pointer]),
            ("llama_vocab_n_tokens", i32, [pointer]),
            ("llama_tokenize", i32, [pointer, ctypes.c_char_p, i32, pointer, i32, ctypes.c_bool, ctypes.c_bool]),
            ("llama_detokenize", i32, [pointer, pointer, i32, ctypes.c_char_p, i32, ctypes.c_bool, ctypes.c_bool]),
            ("llama_batch_init", _Batch, [i32, i32, i32]),
            ("llama_batch_free", None, [_Batch]),
            ("llama_decode", i32, [pointer, _Batch]),
            ("llama_get_logits_ith", ctypes.POINTER(ctypes.c_float), [pointer, i32]),
            ("llama_model_meta_val_str", i32, [pointer, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t]),
            ("llama_vocab_bos", i32, [pointer]), ("llama_vocab_eos", i32, [pointer]),
            ("llama_vocab_eot", i32, [pointer]), ("llama_vocab_pad", i32, [pointer]),
            ("llama_vocab_is_eog", ctypes.c_bool, [pointer, i32]),
            ("llama_free", None, [pointer]), ("llama_model_free", None, [pointer]),
            ("llama_log_set", None, [LOG, pointer]), ("llama_backend_init", None, [])):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    lib.llama_log_set(_take_message, None)
    lib.llama_backend_init()
    return lib


class LoadError(Exception):
    """What llama.cpp logged before it gave up."""


class Model:
    """A loaded GGUF file; a context manager."""

    def __init__(self, path):
        lib = library()
        _messages.clear()
        self.handle = lib.llama_model_load_from_file(str(path).encode(), lib.llama_model_default_params())
        if not self.handle:
            raise LoadError("".join(_messages[-8:]))
        self.vocab = lib.llama_model_get_vocab(self.handle)
        self.n_vocab = lib.llama_vocab_n_tokens(self.vocab)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        library().llama_model_free(self.handle)
        self.handle = None

    def tokenize(self, text, special=False):
        """Ids of `text`, without tokens added at its ends."""
        data = text.encode()
        ids = np.zeros(len(data) + 16, np.int32)
        n = library().llama_tokenize(self.vocab, data, len(data), ids.ctypes.data, len(ids), False, special)
        assert n >= 0, n
        return ids[:n].tolist()

    def detokenize(self, ids):
        ids = np.asarray(ids, np.int32)
        text = ctypes.create_string_buffer(64 * len(ids) + 64)
        n = library().llama_detokenize(self.vocab, ids.ctypes.data, len(ids), text, len(text), False, True)
        assert n >= 0, n
        return text.raw[:n].decode()

    def special(self, name):
        """The id of "bos", "eos", "eot" or "pad"; -1 where there is none."""
        return getattr(library(), f"llama_vocab_{name}")(self.vocab)

    def ends_turn(self, token):
        return library().llama_vocab_is_eog(self.vocab, token)

    def metadata(self, key):
        text = ctypes.create_string_buffer(1 << 16)
        n = library().llama_model_meta_val_str(self.handle, key.encode(), text, len(text))
        return text.value.decode() if n >= 0 else None

    def logits(self, ids, n_ctx, keep=None):
        """float32 [keep or len(ids), n_vocab]: of the last positions of one sequence, in a context of n_ctx tokens."""
        with _Context(self, n_ctx) as context:
            return context.logits(ids, keep or len(ids))


class _Context:
    def __init__(self, model, n_ctx):
        lib = library()
        params = lib.llama_context_default_params()
        words = params.u32()
        # n_ctx, n_batch, n_ubatch, n_seq_max, ..., n_threads, n_threads_batch
        if [words[i] for i in (0, 1, 2, 3, 7, 8)] != [512, 2048, 512, 1, 4, 4]:
            raise RuntimeError("llama_context_params has another layout than in b11549")
        words[0], words[1], words[2] = n_ctx, n_ctx, min(n_ctx, 512)
        words[7] = words[8] = 2
        self.model = model
        self.handle = lib.llama_init_from_model(model.handle, params)
        if not self.handle:
            raise LoadError("".join(_messages[-8:]))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        library().llama_free(self.handle)

    def logits(self, ids, keep):
        lib = library()
        n = len(ids)
        batch = lib.llama_batch_init(n, 0, 1)
        try:
            batch.n_tokens = n
            for i, token in enumerate(ids):
                batch.token[i], batch.pos[i], batch.n_seq_id[i] = int(token), i, 1
                batch.seq_id[i][0], batch.logits[i] = 0, i >= n - keep
            status = lib.llama_decode(self.handle, batch)
            assert status == 0, f"llama_decode: {status}"
            rows = [np.ctypeslib.as_array(lib.llama_get_logits_ith(self.handle, i), (self.model.n_vocab,)).copy()
                    for i in range(n - keep, n)]
        finally:
            lib.llama_batch_free(batch)
        return np.stack(rows)
