"""Causal tracing over questions: which pairs, what stands where, and how it is said of all of them."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from layerwise.causal import causal_tracing
from layerwise.causal.causal_tracing import trace_causes
from layerwise.causal.pairs import Asked
from layerwise.causal.patching import patch
from layerwise.causal.traced import BETWEEN, KINDS, LAST, ROLES, SUBJECT, SUBJECT_LAST, CausalTracing, TracedPair
from layerwise.errors import QuestionError
from layerwise.questions.question import Question
from layerwise.report.causal_report import write_causal_report

COUNTRIES = {"Germany": " Berlin", "France": " Paris", "Spain": " Madrid", "Italy": " Rome", "Japan": " Tokyo"}


def questions(wording="statement", template="The capital of {} is"):
    return [
        Question(
            f"{wording}/{country}",
            template.format(country),
            (capital,),
            item=country,
            direction="capital",
            wording=wording,
            group="countries",
        )
        for country, capital in COUNTRIES.items()
    ]


@pytest.fixture
def all_known(monkeypatch):
    """A model of random weights knows nothing; what is patched does not depend on that."""

    def ask(model, questions, *_, **__):
        return Asked(len(questions), {question: [] for question in questions})

    monkeypatch.setattr(causal_tracing, "ask", ask)


def made_up(recovery, items):
    """Causal tracing with recoveries of the stream, [pair, block, role], that are known."""
    recovery = np.asarray(recovery, dtype=float)
    shaped = {str(kind): recovery for kind in KINDS}
    pairs = tuple(TracedPair(item, "w", "c", "d", "a", "b", -1.0, 1.0) for item in items)
    blocks = {kind: tuple(range(recovery.shape[1])) for kind in KINDS}
    info: Any = SimpleNamespace(name="m", n_layers=recovery.shape[1])
    control = {str(kind): np.zeros_like(recovery) for kind in KINDS}
    return CausalTracing(info, "set", "denoise", 9, 9, pairs, {}, blocks, shaped, control, 0, {})


def test_a_pair_s_recoveries_are_those_of_its_grid_by_role(tiny, all_known):
    [found] = trace_causes(tiny, "set", questions(), directions=["denoise"], limit=3)
    assert len(found.pairs) == 3
    assert found.asked == found.known == 5
    for number, pair in enumerate(found.pairs):
        assert pair.answer == COUNTRIES[pair.item]
        alone = patch(tiny, pair.clean, pair.corrupted, pair.answer, pair.against, kinds=KINDS, placebo=True)
        end = len(alone.patched) - alone.alignment.shared_end
        grid = alone.grid("resid_pre")
        at = grid.columns.index
        expected = {SUBJECT_LAST: grid.recovery[:, at(end - 1)], LAST: grid.recovery[:, at(len(alone.patched) - 1)]}
        for role, values in expected.items():
            assert np.allclose(found.recovery["resid_pre"][number, :, ROLES.index(role)], values, atol=1e-3)
        assert np.allclose(found.recovery["z"][number], alone.grid("z").recovery, atol=1e-3)
        placebo = alone.grid("z").placebo
        assert placebo is not None
        assert np.allclose(found.placebo["z"][number], placebo, atol=1e-3)


def test_both_directions_are_of_the_same_pairs(tiny, all_known):
    first, second = trace_causes(tiny, "set", questions(), limit=2)
    assert (first.direction, second.direction) == ("denoise", "noise")
    assert [pair.clean for pair in first.pairs] == [pair.clean for pair in second.pairs]
    assert first.pairs[0].source == pytest.approx(second.pairs[0].unpatched, abs=1e-3)


def test_pairs_are_of_one_wording_and_of_other_answers(tiny, all_known):
    asked = [*questions(), *questions("named", "Of all cities, the capital of {} is called")]
    [found] = trace_causes(tiny, "set", asked, directions=["denoise"], limit=99)
    assert len(found.pairs) == 10
    for pair in found.pairs:
        assert pair.clean.split()[:3] == pair.corrupted.split()[:3]
        assert pair.answer != pair.against


def test_a_subject_at_the_end_is_left_out_and_said(tiny, all_known):
    asked = [*questions(), *questions("last", "I live in {}")]
    [found] = trace_causes(tiny, "set", asked, directions=["denoise"], limit=99)
    assert {pair.wording for pair in found.pairs} == {"statement"}
    assert sum(found.skipped.values()) == 5


def test_nothing_known_is_an_error_that_says_so(tiny):
    with pytest.raises(QuestionError, match="the model answers 0 of 5"):
        trace_causes(tiny, "set", questions())


def test_layers_are_medians_over_items():
    # the subject holds until layer 2 or 3, the last position from layer 2 or for good only from 3 (it falls back once)
    subject = [[0.9, 0.8, 0.1, 0.0], [1.0, 0.9, 0.7, 0.2], [1.0, 0.9, 0.7, 0.2]]
    last = [[0.0, 0.1, 0.9, 1.0], [0.0, 0.6, 0.3, 0.8], [0.0, 0.1, 0.2, 0.3]]
    values = np.full((3, 4, 4), np.nan)
    values[:, :, ROLES.index(SUBJECT_LAST)], values[:, :, ROLES.index(LAST)] = subject, last
    found = made_up(values, "abc")
    assert found.leaves is not None
    assert found.arrives is not None
    assert found.leaves.value == 3
    assert found.arrives.value == 3, "2, 3, and 4 where it never does: the output"
    assert found.by_block("resid_pre", BETWEEN) == [None] * 4
    assert found.largest("resid_pre", SUBJECT) is None


def test_what_is_chosen_is_estimated_on_other_items():
    """Noise alone: the largest of many is large where it was chosen, and as any other elsewhere."""
    generator = np.random.default_rng(0)
    values = generator.normal(size=(60, 40, 4))
    found = made_up(values, [f"item {number}" for number in range(60)])
    best = found.largest("resid_pre", LAST)
    assert best is not None
    assert abs(best[1].value) < 0.6
    assert values[:, best[0], ROLES.index(LAST)].mean() < abs(values.mean(axis=0)).max() + 1e-9
    assert best[1].n == 30
    for _, _, recovery, _ in found.strongest_heads(3):
        assert recovery is not None
        assert abs(recovery.value) < 0.6


def test_wordings_of_one_item_count_as_one():
    values = np.ones((4, 2, 4))
    values[:3] = 0
    found = made_up(values, ["a", "a", "a", "b"])
    [first, _] = found.by_block("resid_pre", LAST)
    assert first is not None
    assert (first.value, first.n) == (0.5, 2)


def test_the_report_says_what_was_found(tiny, all_known, tmp_path):
    found = trace_causes(tiny, "set capital", questions(), limit=4)
    report = write_causal_report(found, tmp_path / "report", title="What *stands* where")
    text = report.read_text()
    assert "What \\*stands\\* where" in text
    assert text.count("## `") == 2
    stored = json.loads((tmp_path / "report" / "causal_tracing.json").read_text())
    again = np.array(stored[0]["recovery"]["z"], dtype=float)
    assert np.allclose(again, found[0].recovery["z"], atol=1e-4)
    assert stored[0]["recovery"]["resid_pre"][0][0][0] is None, "one token is no subject before its last"
    for picture in ("positions", "heads"):
        assert len([*(tmp_path / "report" / "figures").glob(f"*{picture}.png")]) == 2
    assert (tmp_path / "report" / "report.html").exists()
