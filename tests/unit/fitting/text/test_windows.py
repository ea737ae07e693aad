import random

import pytest
import torch

from layerwise.errors import TextError
from layerwise.fitting.text.documents import document
from layerwise.fitting.text.windows import beginning, divide, windows_of

LENGTH = 16
RUN = 8
"""Tokens in a row that two documents of random numbers never share."""


@pytest.fixture(params=["qwen3", "llama3"])
def tokenizer(request, load_family):
    """One tokenizer without BOS, and one with."""
    return load_family(request.param)._loaded.tokenizer


def made_up(count, words=120, seed=0):
    draw = random.Random(seed)
    return [" ".join(str(draw.randrange(10**6)) for _ in range(words)) for _ in range(count)]


def cut(texts, tokenizer, fitted=40, held_out=10, length=LENGTH):
    return divide([document(text) for text in texts], tokenizer, length=length, fitted=fitted, held_out=held_out)


def runs(windows, tokenizer):
    """Return all runs of tokens in some windows, BOS left out."""
    start = len(beginning(tokenizer))
    return {tuple(ids[i : i + RUN]) for ids in windows.ids.tolist() for i in range(start, len(ids) - RUN + 1)}


@pytest.mark.parametrize("count", [1, 2, 3, 5, 40])
def test_no_document_is_on_two_sides(tokenizer, count):
    texts = made_up(count, words=2400 // count)
    text = cut(texts * 2, tokenizer)  # copies, too
    sides = [runs(side, tokenizer) for side in (*text.halves, text.held_out)]
    assert all(sides)
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]
    assert not sides[0] & sides[1]


def test_each_document_gives_windows_to_one_side_only(tokenizer):
    texts = made_up(12)
    text = cut(texts, tokenizer, fitted=1000, held_out=1000)
    of = {}
    for name, side in zip(("first", "second", "held out"), (*text.halves, text.held_out), strict=True):
        for run in runs(side, tokenizer):
            of[run] = name
    for each in texts:
        ids = tokenizer.encode(each, special=False)
        found = {of[run] for i in range(len(ids)) if (run := tuple(ids[i : i + RUN])) in of}
        assert len(found) == 1


def test_the_order_of_documents_and_copies_change_nothing(tokenizer):
    texts = made_up(9)
    first, second = cut(texts, tokenizer), cut([*reversed(texts), texts[3], f"\n{texts[4]}  "], tokenizer)
    for one, other in zip((*first.halves, first.held_out), (*second.halves, second.held_out), strict=True):
        assert torch.equal(one.ids, other.ids)
        assert one.sum == other.sum


def test_a_single_document_is_divided_with_a_gap_and_that_is_said(tokenizer):
    [whole] = made_up(1, words=400)
    text = cut([whole], tokenizer, fitted=1000, held_out=1000)
    ids = tokenizer.encode(whole, special=False)
    step = LENGTH - len(beginning(tokenizer))
    used = {tuple(w[LENGTH - step :]) for side in (*text.halves, text.held_out) for w in side.ids.tolist()}
    windows = [tuple(ids[i : i + step]) for i in range(0, len(ids) - step + 1, step)]
    assert [w in used for w in windows].count(False) == 2
    assert [note for note in text.notes if "one document" in note and "gap" in note]


def test_every_window_begins_as_the_tokenizer_begins_a_text(tokenizer):
    text = cut(made_up(5), tokenizer)
    before = beginning(tokenizer)
    for side in (*text.halves, text.held_out):
        assert side.ids.shape[1] == LENGTH
        assert all(tuple(window[: len(before)]) == before for window in side.ids.tolist())


def test_the_halves_are_as_large_as_asked_for(tokenizer):
    text = cut(made_up(30), tokenizer, fitted=20, held_out=5)
    assert [len(half) for half in text.halves] == [10, 10]
    assert len(text.held_out) == 5
    described = text.held_out.described()
    assert (described["windows"], described["tokens"]) == (5, 5 * LENGTH)
    assert 1 <= described["documents"] <= 5
    assert len(described["sum"]) == 64


def test_shards_are_the_whole_without_overlap(tokenizer):
    [half, _] = cut(made_up(30), tokenizer).halves
    parts = [half.shard(index, 3) for index in range(3)]
    assert sorted(each for part in parts for each in part.sums) == sorted(half.sums)


def test_the_sum_does_not_depend_on_the_order_of_windows(tokenizer):
    [half, _] = cut(made_up(30), tokenizer).halves
    assert type(half)(half.ids.flip(0), half.documents).sum == half.sum
    assert half.first(len(half) - 1).sum != half.sum


@pytest.mark.parametrize("texts", [["short"], ["short"] * 50, [], ["short", "other"]])
def test_too_little_text_says_how_much_is_needed(tokenizer, texts):
    with pytest.raises(TextError, match=rf"fill 0 windows of {LENGTH} tokens.*At least 3 are needed \(48 tokens\)"):
        cut(texts, tokenizer)


def test_documents_that_fill_no_window_are_counted(tokenizer):
    text = cut([*made_up(5), "short"], tokenizer, fitted=1000, held_out=100)
    assert [note for note in text.notes if note == "Left out: 1 document of 6, with fewer than 16 tokens."]


def test_a_window_has_a_least_length(tokenizer):
    with pytest.raises(TextError, match=r"at least 8 tokens.*got 7"):
        cut(made_up(5), tokenizer, length=7)


def test_token_ids_are_documents_too(tokenizer):
    ids = [tuple(range(300 + i, 300 + i + 64)) for i in range(6)]
    text = divide([document(each) for each in ids], tokenizer, length=LENGTH, fitted=8, held_out=2)
    assert len(text.held_out) == 2


def test_text_to_look_at_a_lens_with_is_all_that_fills_a_window(tokenizer):
    given = [document(text) for text in [*made_up(5), "short"]]
    found = windows_of(given, tokenizer, length=LENGTH, count=7)
    assert found.ids.shape == (7, LENGTH)
    every = windows_of(given, tokenizer, length=LENGTH, count=10_000)
    assert every.documents == 5
    assert {*found.sums} < {*every.sums}
    again = windows_of(given[::-1], tokenizer, length=LENGTH, count=7)
    assert torch.equal(found.ids, again.ids)


@pytest.mark.parametrize("texts", [[], ["too short"]])
def test_text_that_fills_no_window_is_refused(tokenizer, texts):
    with pytest.raises(TextError, match="too little text"):
        windows_of([document(text) for text in texts], tokenizer, length=LENGTH, count=3)
