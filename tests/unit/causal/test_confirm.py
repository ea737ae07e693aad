"""Confirmations: each exchange is the edit of that name, placebos match it, and verdicts follow their rule."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from layerwise.causal import confirm as confirming
from layerwise.causal.confirm import confirm
from layerwise.causal.confirmed import EXCHANGE, KINDS, PLACEBOS, Confirmation, ConfirmedPair, LensConfirmation
from layerwise.causal.pairs import Asked
from layerwise.errors import EditError, QuestionError
from layerwise.questions.question import Question
from layerwise.report.confirm_report import write_confirm_report
from layerwise.tracing.request import Request
from tests.lenses import saved_lens

CAPITALS = {"Germany": " Berlin", "France": " Paris", "Spain": " Madrid", "Italy": " Rome", "Japan": " Tokyo"}


def questions():
    return [
        Question(f"w/{country}", f"The capital of {country} is", (capital,), item=country, wording="w", group="g")
        for country, capital in CAPITALS.items()
    ]


@pytest.fixture
def all_known(monkeypatch):
    """A model of random weights knows nothing; what is exchanged does not depend on that."""

    def ask(model, asked, limit, *, lenses, progress):
        traces = model.trace_all([Request.about(each) for each in asked], lenses=lenses)
        return Asked(len(asked), dict(zip(asked, traces, strict=True)))

    monkeypatch.setattr(confirming, "ask", ask)


@pytest.fixture
def lens(tiny, tmp_path):
    return f"ridge:{saved_lens(tmp_path / 'lens', tiny)}"


def difference(model, prompt, answer, against, edits=()):
    request = Request(prompt, (answer,), alternatives=(against,), wrong=against, edits=edits)
    [[trace]] = model.trace_all([request])
    logits = [np.log(each.prob[-1]) for each in (trace.answer, trace.wrong)]
    return float(logits[0] - logits[1])


def deciding(model, prompt, answer, against):
    """Return the texts of the tokens that tell the answers apart, where they are the first ones."""
    [[trace]] = model.trace_all([Request(prompt, (answer,), alternatives=(against,), wrong=against)])
    parts = [each.answers[0] for each in (trace.answer, trace.wrong)]
    assert all(each.deciding_index == 0 for each in parts), "the edit is of the prompt alone"
    return [each.tokens[0].text for each in parts]


@pytest.mark.parametrize("fitted", [False, True])
def test_a_recovery_is_that_of_the_exchange_as_an_edit(tiny, all_known, lens, fitted):
    named = lens if fitted else "logit"
    found = confirm(tiny, "set", questions(), lenses=[named])
    [of_lens] = found.lenses
    assert len(found.pairs) == len(CAPITALS)
    for number, pair in enumerate(found.pairs[:2]):
        first, second = deciding(tiny, pair.prompt, pair.answer, pair.against)
        clean = difference(tiny, pair.prompt, pair.answer, pair.against)
        source = difference(tiny, pair.other, pair.answer, pair.against)
        assert (pair.unpatched, pair.source) == pytest.approx((clean, source), abs=1e-3)
        for layer in range(1, tiny.n_layers):
            edit = f"exchange layer {layer}@-1 token={first!r} token={second!r} lens={named}"
            moved = difference(tiny, pair.prompt, pair.answer, pair.against, (edit,))
            expected = (moved - clean) / (source - clean)
            assert of_lens.recovery[EXCHANGE][number, layer - 1] == pytest.approx(expected, abs=2e-2)
            assert of_lens.follows[number, layer - 1] == (moved < 0)


def test_the_whole_state_s_recovery_is_the_patch_s(tiny, all_known):
    found = confirm(tiny, "set", questions())
    pair = found.pairs[0]
    for layer in range(1, tiny.n_layers):
        edit = f"patch layer {layer}@-1 source='{pair.other}' at=-1"
        moved = difference(tiny, pair.prompt, pair.answer, pair.against, (edit,))
        expected = (moved - pair.unpatched) / (pair.source - pair.unpatched)
        assert found.patched[0, layer - 1] == pytest.approx(expected, abs=1e-2)


def test_a_lens_is_exchanged_where_it_has_something_and_nowhere_else(tiny, all_known, lens):
    opened = tiny.open_lens(lens)
    del opened.translators[2]
    found = confirm(tiny, "set", questions(), lenses=["logit", lens])
    assert [each.lens for each in found.lenses] == ["logit", "ridge:lens"]
    assert np.isfinite(found.lenses[0].recovery[EXCHANGE]).all()
    for kind in KINDS:
        assert np.isnan(found.lenses[1].recovery[kind][:, 1]).all()
        assert np.isfinite(np.delete(found.lenses[1].recovery[kind], 1, axis=1)).all()


def test_placebos_depend_on_the_seed_and_exchanges_do_not(tiny, all_known):
    first, again, other = (confirm(tiny, "set", questions(), seed=seed).lenses[0] for seed in (0, 0, 1))
    for kind in PLACEBOS[:2]:
        assert np.allclose(first.recovery[kind], again.recovery[kind], atol=1e-3)
        assert not np.allclose(first.recovery[kind], other.recovery[kind], atol=1e-3)
    assert np.allclose(first.recovery[EXCHANGE], other.recovery[EXCHANGE], atol=1e-3)


def test_a_random_direction_goes_as_far_as_the_exchange(tiny, all_known, monkeypatch):
    cells = {}
    run = confirming.run_cells
    monkeypatch.setattr(
        confirming,
        "run_cells",
        lambda model, ids, some, *rest, **more: cells.update({ids: some}) or run(model, ids, some, *rest, **more),
    )
    confirm(tiny, "set", questions(), limit=1)
    [(ids, some)] = cells.items()
    states = tiny.capture(ids, "resid_post", positions="all")
    moved = {}
    for cell in some:
        [edit] = cell.edits
        values = states[str(edit.site)][list(edit.positions)]
        changed = edit.how(__import__("torch").from_numpy(values)).numpy()
        kind = edit.what.split()[0]
        moved.setdefault((edit.site.block, edit.positions == (len(ids) - 1,)), []).append((kind, changed - values))
    for (block, at_last), each in moved.items():
        if at_last and block < tiny.n_layers - 1:
            puts = [np.linalg.norm(by) for kind, by in each if kind == "put"]
            exchanges = [np.linalg.norm(by) for kind, by in each if kind == "exchange"]
            assert min(abs(exchanges[0] - far) for far in puts) < 1e-3 * exchanges[0], "one of the two that are put"


def made_up(exchange, placebo=0.0, readable=None, patched=None, n_layers=4):
    """A confirmation whose recoveries, [pair, layer], are known."""
    exchange = np.asarray(exchange, dtype=float)
    pairs = tuple(ConfirmedPair(f"i{n}", "w", "p", "o", "a", "b", 2.0, -2.0) for n in range(len(exchange)))
    recovery = {kind: np.full_like(exchange, placebo) for kind in KINDS} | {EXCHANGE: exchange}
    lens = LensConfirmation("logit", None, tuple(readable or [2] * len(pairs)), recovery, exchange > 0.5)
    info: Any = SimpleNamespace(name="m", n_layers=n_layers)
    states = exchange if patched is None else np.asarray(patched, dtype=float)
    return Confirmation(info, "set", "first_top1", 9, 9, pairs, {}, (lens,), states, 0, {})


def test_what_is_told_is_of_each_question_s_own_layer():
    found = made_up([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]], readable=[1, 3])
    [lens] = found.lenses
    effect, before = found.effect(lens), found.effect(lens, offset=-1)
    assert effect is not None
    assert before is not None
    assert effect.value == pytest.approx((0.1 + 0.6) / 2)
    assert (before.value, before.n) == (pytest.approx(0.5), 1), "before layer 1 nothing was exchanged"


def test_what_is_read_at_the_output_alone_or_never_says_nothing():
    found = made_up([[0.9] * 3] * 3, readable=[4, None, 2])
    [lens] = found.lenses
    assert found.readable_within(lens).tolist() == [False, False, True]
    effect = found.effect(lens)
    assert effect is not None
    assert effect.n == 1
    nothing = made_up([[0.9] * 3] * 3, readable=[4, None, 4])
    assert nothing.verdict(nothing.lenses[0]) == "cannot be judged"


@pytest.mark.parametrize(
    ("exchange", "placebo", "said"),
    [
        (np.full((12, 3), 0.8), 0.02, "drives the output"),
        (np.full((12, 3), 0.8), 0.75, "does not drive the output"),
        (np.full((12, 3), 0.05), 0.0, "does not drive the output"),
        (np.tile([[1.0, 1.0, 1.0], [-0.8, -0.8, -0.8]], (6, 1)), 0.0, "inconclusive"),
    ],
)
def test_a_verdict_follows_its_rule(exchange, placebo, said):
    found = made_up(exchange, placebo)
    assert found.verdict(found.lenses[0]) == said


def test_a_few_items_say_nothing():
    few = made_up(np.full((4, 3), 0.8))
    assert few.verdict(few.lenses[0]) == "cannot be judged"


def test_one_placebo_that_does_as_much_is_enough_against_it():
    found = made_up(np.full((12, 3), 0.8))
    found.lenses[0].recovery[PLACEBOS[1]][:] = 0.78
    assert found.verdict(found.lenses[0]) == "does not drive the output"


def test_the_last_position_carries_the_answer_from_where_half_recovers_for_good():
    found = made_up(
        np.zeros((4, 3)), patched=[[0, 0, 1], [1, 0, 1], [0.6, 0.7, 0.5], [0, 0.4, 0.4]], readable=[3, 4, 1, None]
    )
    assert found.carried_from.tolist() == [3, 3, 1, 4]
    later = found.later(found.lenses[0])
    assert later is not None
    assert later.value == pytest.approx(np.median([0, 1, 0, 1]))


def test_the_report_says_what_was_found(tiny, all_known, lens, tmp_path):
    found = confirm(tiny, "a|b <i>", questions(), lenses=["logit", lens])
    report = write_confirm_report([found], tmp_path, title="Whose <b>?").read_text()
    stored = json.loads((tmp_path / "confirmation.json").read_text())
    assert len(stored[0]["pairs"]) == len(found.pairs)
    assert stored[0]["lenses"][1]["sum"] == found.lenses[1].sum
    for each in found.lenses:
        assert found.verdict(each) in report
    assert "<b>" not in report
    assert "5 questions asked, 5 known; 5 beside another one, of 5 items." in report
    tables = [line for line in report.splitlines() if line.startswith("| `logit`")]
    assert len(tables) == 3
    assert (tmp_path / "report.html").exists()
    for picture in [line.split("](")[1].rstrip(")") for line in report.splitlines() if line.startswith("![")]:
        assert (tmp_path / picture).is_file()


def test_what_cannot_be_confirmed_is_refused(tiny):
    with pytest.raises(EditError, match="Expected a milestone"):
        confirm(tiny, "set", questions(), milestone="copy")
    with pytest.raises(EditError, match="at least one lens"):
        confirm(tiny, "set", questions(), lenses=[])
    with pytest.raises(EditError, match="at least once"):
        confirm(tiny, "set", questions(), draws=0)
    with pytest.raises(QuestionError, match="the model answers 0 of 5"):
        confirm(tiny, "set", questions())
