"""The bundled models' tokenizers, with the ids that llama.cpp (of llama-cpp-python 0.3.36) gives the same texts."""

import pytest

from layerwise.models.gguf.header import read_gguf_header
from layerwise.models.machine.cache import cache_folder
from layerwise.models.sources.bundled import BUNDLED

_SMOLLM = {
    "a:\n\n1": (81, 42, 1116, 33),
    "total:    42": (9712, 42, 289, 36, 34),
    "x  3": (104, 256, 35),
    "<|im_start|>user\nHi<|im_end|>": (1, 4093, 198, 26843, 2),
}
_GEMMA = {
    "The capital of Germany is": (2, 818, 5279, 529, 9405, 563),
    "a:\n\n1": (2, 236746, 236787, 108, 236770),
    "total:    42  \t\tx": (2, 6725, 236787, 140, 236812, 236778, 138, 255969, 236781),
    "<start_of_turn>user\nHi <b>bold</b>\n\n\n": (2, 105, 2364, 107, 10979, 236743, 200, 15640, 209, 109),
    "São Paulo 東京 🙂\U000131d3": (2, 121175, 29150, 86459, 57235, 478, 385, 373, 385),
}


@pytest.mark.parametrize("text", _SMOLLM)
def test_smollm_reads_a_text_as_llama_cpp_does(smollm, text: str):
    assert smollm._loaded.tokenizer.encode(text) == _SMOLLM[text]


@pytest.mark.parametrize("text", _GEMMA)
def test_gemma_reads_a_text_as_llama_cpp_does(gemma, text: str):
    assert gemma._loaded.tokenizer.encode(text) == _GEMMA[text]


def test_smollms_tokens_before_digits_are_the_words_of_its_own_rule(smollm):
    def texts(text: str) -> list[str]:
        return [token.text for token in smollm.trace(text).tokens]

    assert texts("a:\n\n1") == ["a", ":", "\n\n", "1"]
    assert texts("total:    42") == ["total", ":", "    ", "4", "2"]
    assert texts("x  3") == ["x", "  ", "3"]


@pytest.mark.parametrize(("model", "name"), [("gemma", "gemma-3-270m"), ("smollm", "smollm2-135m")])
def test_the_vocabulary_is_the_files(request: pytest.FixtureRequest, model: str, name: str):
    header = read_gguf_header(cache_folder() / "bundled" / BUNDLED[name].file_name)
    tokens = header.array("tokenizer.ggml.tokens")
    read = request.getfixturevalue(model)._loaded.tokenizer.hf.get_vocab()
    assert read == {token: i for i, token in enumerate(tokens)}
