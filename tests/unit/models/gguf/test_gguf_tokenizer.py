"""The tokenizers of GGUF files.

Expected ids are llama.cpp's (of llama-cpp-python 0.3.36) where a test says so, written by
`python -m benchmarks.gguf_tokenizers --answers`; the others follow by hand from the vocabulary.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import pytest
import transformers
from tokenizers import Regex, pre_tokenizers

from benchmarks.gguf_tokenizers import ANSWERS, vocabularies
from benchmarks.vocabularies import (
    BYTE,
    CONTROL,
    NORMAL,
    TEXTS,
    UNKNOWN,
    USER_DEFINED,
    Vocabulary,
    byte_level,
    sentencepiece,
)
from layerwise.errors import CorruptFileError, UnsupportedModelError
from layerwise.models.gguf.gguf_files import open_gguf
from layerwise.models.gguf.hub_folder import read_tokenizer
from layerwise.models.gguf.tokenizer import HARMLESS, build_tokenizer, characters, unknown_tokenizer_keys
from layerwise.models.gguf.tokenizer.pre import PRE_TOKENIZERS
from layerwise.models.tokenizing.tokens import Tokenizer, byte_alphabet

_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
_LETTERS = list(byte_alphabet())


@pytest.fixture
def read(tmp_path: Path):
    """Return what builds a vocabulary's tokenizer, written to a file, saved and read back as a model's is."""

    def read(vocabulary: Vocabulary, **how: Any) -> Any:
        made = build_tokenizer(open_gguf(vocabulary.write(tmp_path / "vocabulary.gguf", **how)))
        made.save_pretrained(tmp_path / "saved")
        return read_tokenizer(tmp_path / "saved")

    return read


def pieces(*tokens: str, scores: dict[str, float], types: dict[str, int] | None = None, **more: Any) -> Vocabulary:
    """Return a SentencePiece vocabulary of single characters and tokens with scores."""
    every = ["<unk>", "<s>", "</s>", *_BYTES, *tokens, *scores]
    kinds = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256] + [(types or {}).get(token, NORMAL) for token in every[259:]]
    return Vocabulary("llama", every, kinds, scores=[scores.get(token, -1e6) for token in every], more=more)


def bpe(*merges: str, types: dict[str, int] | None = None, plain: tuple[str, ...] = (), **more: Any) -> Vocabulary:
    """Return a byte-level vocabulary of all bytes, what merges make of them, and further tokens."""
    further, merges = types or {}, merges or ("x y",)
    tokens = [*_LETTERS, *(merge.replace(" ", "") for merge in merges), *plain, *further]
    kinds = [NORMAL] * (len(tokens) - len(further)) + list(further.values())
    return Vocabulary("gpt2", tokens, kinds, merges, more={"pre": "gpt-2"} | more)


def shown(tokenizer: Any, text: str, special: bool = False) -> list[str]:
    return tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=special)["input_ids"])


def answers() -> dict[str, list[list[int]]]:
    return {name: group["ids"] for group in json.loads(ANSWERS.read_text("utf-8")) for name in group["names"]}


@pytest.mark.parametrize("name", sorted(answers()))
def test_texts_get_the_ids_that_llama_cpp_gives_them(read: Any, name: str):
    tokenizer, expected = read(vocabularies()[name]), answers()[name]
    assert len(expected) == len(TEXTS)
    for text, ids in zip(TEXTS, expected, strict=True):
        assert tokenizer(text)["input_ids"] == ids, text


def test_every_name_of_a_pre_tokenizer_has_its_answers():
    assert set(PRE_TOKENIZERS) <= set(answers())


def test_architecture_and_name_change_nothing_but_what_llama_cpp_ties_to_a_name(read: Any):
    for vocabulary in (byte_level(pre="falcon"), sentencepiece()):
        plain = read(vocabulary, architecture="llama")
        other = read(vocabulary, architecture="gemma", name="mistral")
        assert [plain(text)["input_ids"] for text in TEXTS] == [other(text)["input_ids"] for text in TEXTS]


def test_smollms_digits_stand_alone_and_spaces_before_them_stay_together(read: Any):
    tokenizer = read(bpe("Ċ Ċ", "Ġ Ġ", "ĠĠ ĠĠ", "4 2", pre="smollm"))
    assert shown(tokenizer, "a:\n\n1") == ["a", ":", "ĊĊ", "1"]
    assert shown(tokenizer, "l:    42") == ["l", ":", "ĠĠĠĠ", "4", "2"]
    assert shown(tokenizer, "x  3") == ["x", "ĠĠ", "3"]


def test_a_file_without_pre_is_split_by_llama_cpps_default(read: Any):
    vocabulary = bpe("1 2", "12 3", "123 4", "a +")
    without = replace(vocabulary, more={})
    assert shown(read(without), "1234a+") == ["123", "4", "a", "+"]
    assert shown(read(vocabulary), "1234a+") == ["1234", "a", "+"]


@pytest.mark.parametrize(
    ("pre", "said", "expected"),
    [
        ("llama-bpe", None, True),
        ("tekken", None, True),
        ("chameleon", None, True),
        ("gpt-2", None, False),
        ("qwen2", None, False),
        ("llama-bpe", False, False),
        ("gpt-2", True, True),
        ("gemma4", False, True),
    ],
)
def test_bos_is_added_as_the_file_says_or_else_its_pre_tokenizer(
    read: Any, pre: str, said: bool | None, expected: bool
):
    vocabulary = bpe(types={"<b>": CONTROL}, pre=pre, bos_token_id=257)
    more = vocabulary.more if said is None else {**vocabulary.more, "add_bos_token": said}
    tokenizer = read(replace(vocabulary, more=more))
    assert (shown(tokenizer, "a", special=True)[0] == "<b>") == expected
    assert tokenizer("")["input_ids"] == ([257] if expected else [])


def test_a_bos_that_is_not_named_is_the_eleventh_token_as_in_falcon(read: Any):
    assert read(bpe(add_bos_token=True))("a")["input_ids"] == [11, _LETTERS.index("a")]
    assert read(pieces("a", scores={}))("a")["input_ids"][0] == 1
    with pytest.raises(UnsupportedModelError, match=r"doesn't say which: it has no tokenizer\.ggml\.bos_token_id"):
        read(bpe(pre="glm4", add_bos_token=True))


def test_eos_that_is_appended_is_taken_off_and_one_that_is_spelled_out_stays(read: Any):
    tokenizer = read(pieces("a", scores={}, add_eos_token=True, add_space_prefix=False, eos_token_id=2))
    assert tokenizer("a")["input_ids"] == [1, 259, 2]
    assert Tokenizer(tokenizer).encode("a") == (1, 259)
    assert Tokenizer(tokenizer).encode("a</s>") == (1, 259, 2)


def test_words_that_are_tokens_are_taken_whole_where_the_pre_tokenizer_asks_for_it(read: Any):
    whole = ("Ġwhole",)
    assert shown(read(bpe("Ġ w", pre="llama-bpe", add_bos_token=False, plain=whole)), " whole") == ["Ġwhole"]
    assert shown(read(bpe("Ġ w", pre="dbrx", plain=whole)), " whole") == ["Ġw", "h", "o", "l", "e"]


def test_the_first_of_two_equal_merges_counts(read: Any):
    first, last = bpe("a b", "b c"), bpe("b c", "a b")
    again = replace(first, merges=["a b", "b c", "a b"])
    assert shown(read(first), "abc") == shown(read(again), "abc") == ["ab", "c"]
    assert shown(read(last), "abc") == ["a", "bc"]


def test_bytes_without_a_token_are_left_out_and_part_their_neighbours(read: Any):
    """As llama.cpp does, for instance in SmolLM2, which has no token for the byte 04."""
    whole = bpe("a b")
    missing = replace(whole, tokens=[t for t in whole.tokens if t != "Ą"], types=whole.types[1:])
    assert shown(read(missing), "a\x04b ab") == ["a", "b", "Ġ", "ab"]


def test_sentencepiece_merges_the_best_score_first_and_of_equals_the_left_one(read: Any):
    scores = {"bc": -1.0, "ab": -2.0, "cd": -1.0}
    tokenizer = read(pieces(*"abcd", scores=scores, add_space_prefix=False, add_bos_token=False))
    assert shown(tokenizer, "abc") == ["a", "bc"]
    assert shown(tokenizer, "bcd") == ["bc", "d"]
    assert shown(tokenizer, "abd") == ["ab", "d"]
    assert shown(tokenizer, "é") == ["<0xC3>", "<0xA9>"]


def test_runs_of_spaces_with_one_score_are_filled_from_the_left_as_in_llama_2(read: Any):
    runs = {"▁" * count: -1e9 for count in range(2, 6)} | {"▁a": -1.0}
    tokenizer = read(pieces("▁", "a", scores=runs, add_space_prefix=False, add_bos_token=False))
    assert shown(tokenizer, " " * 13 + "a") == ["▁" * 5, "▁" * 5, "▁▁", "▁a"]


@pytest.mark.parametrize("prefix", [True, False])
def test_a_space_goes_before_every_stretch_of_text_unless_the_file_says_no(read: Any, prefix: bool):
    vocabulary = pieces("▁", "a", scores={}, types={}, add_space_prefix=prefix)
    expected = ["<s>", "▁", "a", "</s>", "▁", "▁", "a"] if prefix else ["<s>", "a", "</s>", "▁", "a"]
    assert shown(read(vocabulary), "a</s> a", special=True) == expected
    assert shown(read(vocabulary), "", special=True) == ["<s>"]


def test_special_tokens_are_found_where_a_text_spells_them_out(read: Any):
    types = {"<c>": CONTROL, "<u>": USER_DEFINED, "<n>": NORMAL, "<|im_end|>": NORMAL, "<|start|>": CONTROL}
    tokenizer = read(bpe(types=types, eos_token_id=259))
    assert shown(tokenizer, "a<c>b<u>") == ["a", "<c>", "b", "<u>"]
    assert shown(tokenizer, "<n>") == ["<", "n", ">"]  # a normal token comes about by merging alone, even as EOS
    assert tokenizer.eos_token_id == 259
    assert shown(tokenizer, "<|im_end|><|start|>") == ["<|im_end|>", "<|start|>"]  # special by their texts
    special = {token.content: token.special for token in tokenizer.added_tokens_decoder.values()}
    assert special == {"<c>": True, "<u>": False, "<|im_end|>": True, "<|start|>": False}


def test_gemma_4s_closing_tag_is_a_normal_token(read: Any):
    types = {"</s>": CONTROL, "<|tool_response>": CONTROL}
    assert shown(read(bpe(types=types)), "</s>") == ["<", "/", "s", ">"]
    assert shown(read(bpe(types={"</s>": NORMAL})), "</s>") == ["</s>"]


def test_phi_3s_special_tokens_swallow_the_space_behind_them(read: Any):
    vocabulary = pieces("▁", "a", "<|end|>", scores={}, types={"<|end|>": CONTROL}, add_space_prefix=False)
    assert shown(read(vocabulary, name="Phi-3 mini"), "<|end|> \n a") == ["<|end|>", "a"]
    assert shown(read(vocabulary, name="phi3"), "<s> a") == ["<s>", "▁", "a"]
    assert shown(read(vocabulary, name="other"), "<|end|> a") == ["<|end|>", "▁", "a"]


def test_gemma_4s_kind_merges_characters_and_takes_newlines_apart(read: Any):
    tokens = ["<pad>", "<bos>", *_BYTES, "\n", "▁", "a", "b", "\n\n", "▁a", "b\n"]
    types = [CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * 7]
    vocabulary = Vocabulary("gemma4", tokens, types, ["b \n", "\n \n", "▁ a"], more={"bos_token_id": 1})
    assert shown(read(vocabulary), " ab\n\né", special=True) == ["<bos>", "▁a", "b", "\n\n", "<0xC3>", "<0xA9>"]
    lonely = replace(vocabulary, merges=["▁ a"])
    with pytest.raises(UnsupportedModelError, match=r"a token for 2 newlines that no merging leads to"):
        read(lonely)


def test_texts_come_back_from_their_tokens(read: Any):
    for vocabulary in (byte_level(pre="llama-bpe"), sentencepiece()):
        tokenizer = Tokenizer(read(vocabulary))
        ids = tokenizer.encode("Two steps: Mix the école 🙂", special=False)
        assert "".join(token.text for token in tokenizer.tokens(ids)).lstrip().startswith("Two steps: Mix the école")


def test_transformers_reads_the_saved_folder_the_same_way(read: Any, tmp_path: Path):
    for vocabulary in (byte_level(pre="qwen2"), sentencepiece()):
        ours = read(vocabulary)
        theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")
        assert [ours(text)["input_ids"] for text in TEXTS] == [theirs(text)["input_ids"] for text in TEXTS]


def test_a_chat_template_is_kept(read: Any, tmp_path: Path):
    path = tmp_path / "chat.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    bpe().add_to(writer)
    writer.add_chat_template("{{ messages[0].content }}")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert build_tokenizer(open_gguf(path)).chat_template == "{{ messages[0].content }}"


def refusals() -> dict[str, tuple[Vocabulary, type[Exception], str]]:
    plain, spm = bpe("a b"), pieces("a", scores={"aa": -1.0})
    unsupported, corrupt = UnsupportedModelError, CorruptFileError
    kinds: dict[str, tuple[Vocabulary, type[Exception], str]] = {
        kind: (replace(plain, kind=kind), unsupported, rf"tokenizer of the kind '{kind}'")
        for kind in ("bert", "t5", "rwkv", "plamo2", "whitespace", "hybriddna", "none", "new")
    }
    others: dict[str, tuple[Vocabulary, type[Exception], str]] = {
        "pre": (bpe(pre="made-up"), unsupported, r"splits texts as 'made-up' \(tokenizer\.ggml\.pre\)"),
        "key": (bpe(new_rule=True), unsupported, r"not known here: tokenizer\.ggml\.new_rule"),
        "twice": (replace(plain, tokens=[*plain.tokens[:-1], "a"]), corrupt, r"has the token 'a' twice"),
        "merges": (replace(plain, merges=None), corrupt, r"has no list tokenizer\.ggml\.merges"),
        "merge": (replace(plain, merges=["a c"]), corrupt, r"merges 'a' and 'c'"),
        "flag": (bpe(add_bos_token=1), corrupt, r"add_bos_token = 1, expected true or false"),
        "id": (bpe(bos_token_id="first"), corrupt, r"bos_token_id = first, expected a token's number"),
        "scores": (replace(spm, scores=None), corrupt, r"no number in tokenizer\.ggml\.scores for each"),
        "bytes": (
            Vocabulary("llama", ["<unk>", "a"], [2, 1], scores=[0.0, 0.0]),
            unsupported,
            r"no token for \d+ bytes",
        ),
        "character": (pieces("a", scores={"ab": -1.0}), unsupported, r"token 'ab' and none for one of its characters"),
        "chance": (bpe(types={"<PRE>": NORMAL, "<fim_prefix>": NORMAL}), unsupported, r"leaves it to chance"),
        "ties": (
            pieces(*"abc", scores={"ab": -1.0, "ca": -1.0, "bc": -1.0}),
            unsupported,
            r"the same score to tokens such as",
        ),
        "half bytes": (
            bpe(pre="gemma4", bos_token_id=1, types={"<0x41>": BYTE}),
            unsupported,
            r"tokens for 1 of 256 bytes",
        ),
    }
    return others | kinds


@pytest.mark.parametrize("name", sorted(refusals()))
def test_what_cannot_be_read_as_llama_cpp_does_is_refused_by_name(read: Any, name: str):
    vocabulary, error, message = refusals()[name]
    with pytest.raises(error, match=message):
        read(vocabulary)


def test_every_key_that_the_gguf_package_writes_is_known():
    keys = [value for name, value in vars(gguf.Keys.Tokenizer).items() if not name.startswith("_")]
    keys = [key.format(name="tool_use") for key in keys]
    assert len(keys) > 30
    assert unknown_tokenizer_keys(keys) == []
    assert all(len(reason) > 20 for reason in HARMLESS.values())


def test_other_keys_are_unknown_if_they_concern_the_tokenizer():
    keys = ["tokenizer.ggml.new", "tokenizer.other", "general.name", "llama.block_count", "tokenizer.ggml.tokens"]
    assert unknown_tokenizer_keys(keys) == ["tokenizer.ggml.new", "tokenizer.other"]


@pytest.mark.parametrize(
    ("characters_of", "count"),
    [
        (characters.LETTER, 136_726),
        (characters.NUMBER, 1_831),
        (characters.PUNCTUATION, 842),
        (characters.SYMBOL, 7_775),
        (characters.MARK, 2_450),
    ],
)
def test_characters_are_those_of_unicode_15_1(characters_of: str, count: int):
    """The counts of Unicode 15.1's categories; Oniguruma's own are those of 16.0."""
    every = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x110000))))
    found = pre_tokenizers.Split(Regex(f"{characters_of}+"), "removed", invert=True).pre_tokenize_str(every)
    assert sum(len(run) for run, _ in found) == count
