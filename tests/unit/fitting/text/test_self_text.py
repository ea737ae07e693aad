import itertools

import pytest
import torch

from layerwise.capture.own_forward import end_ids
from layerwise.errors import TextError
from layerwise.fitting.estimate import duration
from layerwise.fitting.text import self_text
from layerwise.fitting.text.self_text import _drawn, write_documents
from layerwise.fitting.text.windows import beginning


def test_documents_are_drawn_with_a_seed_and_have_their_length(load_family):
    for name in ("qwen3", "llama3"):
        model = load_family(name)._loaded
        first, again = (write_documents(model, 40, 12, seed=1) for _ in range(2))
        assert first == again
        assert first != write_documents(model, 40, 12, seed=2)
        assert [len(each) for each in first] == [12 - len(beginning(model.tokenizer))] * 40
        assert not {i for each in first for i in each} & end_ids(model)


def test_tokens_are_drawn_from_what_the_model_predicts(load_family):
    """Of many texts' first tokens, a token's share is its probability."""
    model = load_family("llama3")._loaded
    before = beginning(model.tokenizer)
    with torch.no_grad():
        logits = model.hf(torch.tensor([before])).logits[0, -1]
    logits[[i for i in end_ids(model) if i is not None]] = -torch.inf
    expected = logits.softmax(-1)
    first = torch.tensor([each[0] for each in write_documents(model, 2000, len(before) + 1, seed=3)])
    share = torch.bincount(first, minlength=len(expected)) / len(first)
    assert (share - expected).abs().max() < 0.04
    assert (share - expected).abs().sum() / 2 < 0.35


def test_tokens_of_a_large_vocabulary_are_drawn_by_their_probabilities():
    """A vocabulary that falls into groups, the last not whole, and a token that is never to be drawn."""
    draw, n_tokens, n_drawn = torch.Generator().manual_seed(0), 1300, 20_000
    logits = torch.randn(1, n_tokens, generator=draw)
    drawn = _drawn(logits.repeat(n_drawn, 1), [n_tokens - 1], draw)[:, 0]
    expected = logits[0, :-1].softmax(-1) * n_drawn
    found = torch.bincount(drawn, minlength=n_tokens)
    assert found[-1] == 0
    chi_square = ((found[:-1] - expected) ** 2 / expected).sum()
    assert abs(chi_square - n_tokens) < 5 * (2 * n_tokens) ** 0.5


def test_progress_counts_tokens(load_family):
    told = []
    write_documents(load_family("qwen3")._loaded, 34, 5, progress=lambda *each: told.append(each))
    assert told[-1] == ("the model writes text", 170, 170)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def test_what_the_writing_takes_is_told_once_a_second_has_passed(load_family, monkeypatch):
    model, clock, notes = load_family("qwen3")._loaded, itertools.count(0, 0.4), []
    monkeypatch.setattr(self_text, "perf_counter", lambda: next(clock))
    write_documents(model, 130, 6, on_note=notes.append)  # in three groups
    steps = 3 * (6 - len(beginning(model.tokenizer)))
    tokens = 130 * steps // 3
    assert notes == [f"The model writes its text first: {tokens} tokens, about {duration(0.4 * (steps - 1))}."]


def test_nothing_is_told_of_what_takes_less_than_a_second(load_family, monkeypatch):
    monkeypatch.setattr(self_text, "perf_counter", lambda: 1.0)
    notes = []
    write_documents(load_family("qwen3")._loaded, 4, 6, on_note=notes.append)
    assert notes == []


def test_a_tokenizer_without_a_first_token_is_refused(fresh):
    model = fresh()._loaded
    model.tokenizer.hf.bos_token = model.tokenizer.hf.eos_token = None
    with pytest.raises(TextError, match="no token that a text begins after"):
        write_documents(model, 1, 8)
