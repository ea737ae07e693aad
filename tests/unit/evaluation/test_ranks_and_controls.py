"""Ranks at the ends of prompts, and the controls that should be below them."""

import pytest
import torch

from layerwise.evaluation.controls import (
    NEIGHBOUR,
    OTHER,
    RANDOM,
    ROTATED,
    SHUFFLED,
    Controls,
    neighbouring,
    others,
    random_rotation,
    rotated,
    shuffled,
)
from layerwise.evaluation.items import Item
from layerwise.evaluation.ranks import Prompts, last_states
from layerwise.lens_spec import RIDGE
from layerwise.lenses.fitted import FittedLens, Translator
from layerwise.readout.lenses import LogitLens

PROMPTS = ["The capital of Germany is", "Berlin is the capital of", "The opposite of hot is"]


@pytest.fixture(scope="module")
def ids(tiny):
    return [tiny._loaded.tokenizer.encode(prompt) for prompt in PROMPTS]


@pytest.fixture(scope="module")
def lens(tiny):
    d = tiny._loaded.output_head.weight.shape[1]
    draw = torch.Generator().manual_seed(1)
    return FittedLens(
        RIDGE, {k: Translator(torch.randn(d, d, generator=draw), torch.randn(d, generator=draw)) for k in range(4)}
    )


def test_ranks_are_those_of_traces(tiny, ids):
    words = [[(5,), (7, 9)], [(11,)], [(5, 7), (9,), (3,)]]
    ranks = Prompts.run(tiny._loaded, ids, words).ranks(LogitLens())
    traces = [tiny.trace(prompt, top_k=10_000) for prompt in PROMPTS]
    expected = []
    for trace, of_prompt in zip(traces, words, strict=True):
        for word in of_prompt:
            places = [[int((layer == i).argmax()) + 1 for layer in trace.top_ids[:, -1]] for i in word]
            expected.append(torch.tensor(places).amin(0).tolist())
    assert ranks.tolist() == expected  # no ties among random weights


def test_what_a_layer_is_read_through_is_the_next_ones_translator(lens):
    shifted = neighbouring(lens, 4).translators
    assert {k: each is lens.translators[k + 1] for k, each in shifted.items()} == {0: True, 1: True, 2: True}


def test_a_rotated_lens_has_the_same_spectrum_and_other_matrices(lens):
    turned = rotated(lens, 0).translators
    for k, each in turned.items():
        was = lens.translators[k].whole()
        torch.testing.assert_close(torch.linalg.svdvals(each.whole()), torch.linalg.svdvals(was), rtol=1e-4, atol=1e-4)
        assert float((each.whole() - was).norm() / was.norm()) > 1
    q = random_rotation(6, 3)
    torch.testing.assert_close(q @ q.T, torch.eye(6))
    assert not torch.equal(q, random_rotation(6, 4))


def test_special_tokens_at_the_beginning_stay_there_when_a_prompt_is_shuffled():
    class Tokenizer:
        special_ids = frozenset([0, 1])

    mixed = shuffled(Tokenizer(), (0, *range(1, 40)), 0)  # pyright: ignore[reportArgumentType]
    assert mixed[:2] == (0, 1)
    assert sorted(mixed) == list(range(40))
    assert mixed != tuple(range(40))


def item(name, *words, category="a", target=None):
    return Item(name, category, "prompt", words, target)


def test_another_prompt_is_of_the_same_kind_and_has_nothing_in_common():
    items = [
        item("0", "France"),
        item("1", "france", "Italy"),
        item("2", "Spain", category="b"),
        item("3", "Peru", target=" France"),
        item("4", "Chile"),
    ]
    assert others(items) == [4, 4, None, 4, 0]


def test_each_control_is_read_where_it_says(tiny, ids, lens):
    model = tiny._loaded
    words = [[(5,)], [(11,), (12,)], [(9,)]]
    items = [item("0", "a"), item("1", "b", "c"), item("2", "d", category="alone")]
    prompts = Prompts.run(model, ids, words)
    random = torch.randn(prompts.states.shape, generator=torch.Generator().manual_seed(2))
    found = Controls.of(prompts, ids, items, random, seed=0).ranks(lens)
    assert set(found) == {NEIGHBOUR, ROTATED, OTHER, SHUFFLED, RANDOM}
    assert found[OTHER][3].tolist() == [0] * 5  # none of its kind
    swapped = Prompts(model, prompts.states[[1, 0]], words[:2]).ranks(lens)
    assert found[OTHER][:3].tolist() == swapped.tolist()
    assert found[NEIGHBOUR].tolist() == prompts.ranks(neighbouring(lens, 4)).tolist()
    assert found[RANDOM].tolist() == prompts.at(random).ranks(lens).tolist()
    mixed = [shuffled(model.tokenizer, each, at) for at, each in enumerate(ids)]
    assert found[SHUFFLED].tolist() == prompts.at(last_states(model, mixed)).ranks(lens).tolist()
    assert {OTHER, SHUFFLED} == set(Controls.of(prompts, ids, items, None, 0).ranks(LogitLens()))


def test_prompts_without_words_give_no_ranks(tiny, ids):
    assert Prompts.run(tiny._loaded, ids, [[], [], []]).ranks(LogitLens()).shape == (0, 5)
