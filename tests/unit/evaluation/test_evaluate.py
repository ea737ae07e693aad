"""Lenses evaluated from end to end, on a toy model."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from layerwise.errors import LensError, StoreError
from layerwise.evaluation.controls import OTHER, SHUFFLED
from layerwise.evaluation.evaluate import evaluate_lenses
from layerwise.evaluation.spellings import ids_of
from layerwise.report.folder import begin_report
from layerwise.report.lens_report import write_lens_report
from layerwise.tracing.lens_fitting import fit_lens


@pytest.fixture(scope="module")
def lens(tiny, tmp_path_factory):
    return fit_lens(tiny, "ridge", tmp_path_factory.mktemp("lens") / "mine", count=4, length=16)


@pytest.fixture(scope="module")
def asked(tiny, tmp_path_factory) -> Path:
    """Items of which the model knows the first one: it is asked for what it says."""
    prompts = ["The capital of Germany is", "The currency of France is", "hot and cold"]
    said = {prompt: tiny.trace(prompt).output[0] for prompt in prompts}
    asks, word = next(
        (prompt, token.text.strip())
        for prompt, token in said.items()
        if token.text.strip() and token.id in ids_of(tiny._loaded.tokenizer, [token.text])
    )
    other = next(each for each in ("Paris", "Rome", "Berlin") if not each.startswith(word[0]))
    items = [
        {"name": str(at), "category": "c", "prompt": prompt, "target": None, "intermediates": [wanted]}
        | {"asked": [{"prompt": asks, "answer": wanted}]}
        for at, (prompt, wanted) in enumerate(zip(prompts, (word, other, other), strict=True))
    ]
    path = tmp_path_factory.mktemp("items") / "set.json"
    path.write_text(json.dumps({"items": items}))
    return path


@pytest.fixture(scope="module")
def evaluation(tiny, lens, asked):
    return evaluate_lenses(tiny, [lens], items=asked)


def test_the_logit_lens_stands_beside_and_both_end_at_the_output(evaluation):
    logit, ridge = evaluation.lenses
    assert [each.name for each in evaluation.lenses] == ["logit", "ridge"]
    assert logit.unspoken.shape == (3, 5)
    assert (logit.unspoken[:, -1] == ridge.unspoken[:, -1]).all()
    assert (logit.unspoken != ridge.unspoken).any()
    assert set(logit.controls) == {OTHER, SHUFFLED}  # random weights are had of models that have a name
    assert len(ridge.controls) == 4


def test_what_the_model_knows_is_what_it_says_when_it_is_asked(evaluation):
    assert [word.known for word in evaluation.words] == [True, False, False]
    assert evaluation.lenses[0].answers.shape == (1, 5)
    assert evaluation.lenses[0].answers[0, -1] == 1


def test_text_is_another_than_the_lens_was_fitted_on(evaluation, lens):
    assert len(evaluation.lenses[1].held_out.kl_bits) == 4
    assert evaluation.lenses[1].card["text"] == lens.card.text
    assert evaluation.text["source"] == "written by the model"
    assert evaluation.text["sum"] != lens.card.text["held_out"]["sum"]


def test_a_second_evaluation_gives_the_same(tiny, lens, asked, evaluation):
    again = evaluate_lenses(tiny, [lens], items=asked)
    for one, other in zip(evaluation.lenses, again.lenses, strict=True):
        assert np.array_equal(one.unspoken, other.unspoken)
        assert one.held_out == other.held_out
        assert all(np.array_equal(one.controls[name], other.controls[name]) for name in one.controls)


def test_a_lens_that_does_not_end_at_the_output_is_refused(tiny, asked):
    with pytest.raises(LensError, match="raw lens does not end at the output"):
        evaluate_lenses(tiny, ["raw"], items=asked)


def test_the_report_has_a_section_of_each_model_and_the_caveats(evaluation, tmp_path):
    report = write_lens_report([evaluation], tmp_path, title="A <b>title</b>").read_text("utf-8")
    assert "<b>" not in report
    assert "may lose" in report
    assert report.count("](figures/") == 3
    for picture in ("unspoken", "answers", "kl"):
        assert list(tmp_path.glob(f"figures/*-{picture}.png"))
    [stored] = json.loads((tmp_path / "evaluation.json").read_text())
    assert stored["lenses"][1]["unspoken_ranks"] == evaluation.lenses[1].unspoken.tolist()
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize("left_out", ["halves", "kl_bits", "held_out", "text", "everything"])
def test_a_report_takes_cards_that_say_less(evaluation, tmp_path, left_out):
    """As those of tuned lenses, which know no halves, and of published ones."""
    card = json.loads(json.dumps(dict(evaluation.lenses[1].card)))
    if left_out == "everything":
        card = {}
    else:
        del (card["held_out"] if left_out in card["held_out"] else card)[left_out]
    lenses = [evaluation.lenses[0], replace(evaluation.lenses[1], card=card)]
    whole = write_lens_report([evaluation], tmp_path / "whole").read_text("utf-8").splitlines()
    less = write_lens_report([replace(evaluation, lenses=lenses)], tmp_path / "less").read_text("utf-8").splitlines()
    [(before, after)] = [pair for pair in zip(whole, less, strict=True) if pair[0] != pair[1]]
    blank = {"halves": [5], "kl_bits": [4], "held_out": [4, 5], "text": [6], "everything": [4, 5, 6]}[left_out]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in (before, after)]
    assert [number for number, (one, other) in enumerate(zip(*cells, strict=True)) if one != other] == blank
    assert all(cells[1][number] == "" for number in blank)


def test_a_report_that_has_no_place_is_refused(tmp_path):
    (tmp_path / "file").write_text("here")
    with pytest.raises(StoreError, match=r"could not be written to .*file"):
        begin_report(tmp_path / "file")


def test_a_model_that_knows_none_has_no_shares(tiny, lens, asked, tmp_path):
    data = json.loads(asked.read_text())
    (tmp_path / "set.json").write_text(json.dumps({"items": data["items"][1:]}))
    found = evaluate_lenses(tiny, [lens], items=tmp_path / "set.json", controls=False)
    assert found.pass_at(found.lenses[0]) is None
    assert "–" in write_lens_report([found], tmp_path / "report").read_text("utf-8")
