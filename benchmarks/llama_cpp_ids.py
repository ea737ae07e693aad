"""Prints llama.cpp's ids of texts, special tokens parsed. Runs in a Python that has llama-cpp-python, not layerwise.

Usage: PYTHON llama_cpp_ids.py < '{"add_special": true, "files": ["…"], "texts": ["…"]}'
"""

import ctypes
import json
import sys

import llama_cpp  # pyright: ignore[reportMissingImports]  # not one of ours: see above


@llama_cpp.llama_log_callback
def _silent(level, text, data):
    pass


def _ids(file, texts, add_special):
    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(file.encode(), parameters)
    if not model:
        return None
    vocabulary, made = llama_cpp.llama_model_get_vocab(model), []
    for text in texts:
        raw = text.encode()
        room = (llama_cpp.llama_token * (2 * len(raw) + 16))()
        count = llama_cpp.llama_tokenize(vocabulary, raw, len(raw), room, len(room), add_special, True)
        made.append(list(room[:count]))
    llama_cpp.llama_model_free(model)
    return made


if __name__ == "__main__":
    llama_cpp.llama_log_set(_silent, ctypes.c_void_p(0))
    asked = json.load(sys.stdin)
    answers = {file: _ids(file, asked["texts"], asked["add_special"]) for file in asked["files"]}
    json.dump({"version": llama_cpp.__version__, "answers": answers}, sys.stdout)
