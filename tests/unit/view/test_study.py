"""A stored run as the dataset view shows it: every number is the store's or the analysis's, and none is made up."""

import csv
import math
import sys

import numpy as np
import pytest

from layerwise.analysis import curves, set_summary
from layerwise.analysis.cases import cases_of
from layerwise.analysis.overview import Overview
from layerwise.cli.app import run_app
from layerwise.errors import ModelError
from layerwise.execution.recording import record
from layerwise.store.shown_names import shown_run
from layerwise.studies.study import plan_study
from layerwise.tracing.layer_measures import MEASURES
from layerwise.types import shown_name
from layerwise.view.document import document_json, unpacked, view_document
from layerwise.view.study import details
from layerwise.view.study.asked_questions import MILESTONES
from layerwise.view.study.study_part import study_of

PLACES = ["Germany", "France", "Italy", "the city", "Rome", "Paris"]
WORDINGS = {"statement": "The capital of {} is a", "question": "Question: What is the capital of {}? Answer:"}
CLAIMS = """
[[claims]]
id = "known"
sentence = "They settle late."
estimator = "settled_depth"
region = "> 0.1"
over = "all"
least_items = 2
null = "No."
[[claims]]
id = "few"
sentence = "Few items settle."
estimator = "settled_depth"
region = "0.80 .. 0.85"
widened_by_layers = 1
least_items = 1000
null = "No."
"""
OWN = [
    {"id": "own", "prompt": "The capital of Germany is", "answers": [" Berlin"], "alternatives": [" Paris"]},
    {"id": "probe", "role": "probe", "prompt": "The capital of"},
]


def own_words(model, prompt):
    """Return what a model itself says after a prompt, where that can be an answer in a table."""
    text = model.trace(prompt).output[0].text
    fit = text == f" {text.strip()}" and model.trace(prompt, answer=text).answer.known
    return text.strip() if fit else "Berlin"


@pytest.fixture(scope="module")
def models(load_family):
    return {load_family(name).info.name: load_family(name) for name in ("gemma2", "qwen3")}


@pytest.fixture(scope="module")
def asked(models, tmp_path_factory):
    """The plan of a study with a set of two directions, and two questions of its own; a folder for its runs."""
    folder = tmp_path_factory.mktemp("study")
    first = next(iter(models.values()))
    rows = [
        [place, template.format(place), own_words(first, template.format(place)), "there", wording]
        for place in PLACES
        for wording, template in WORDINGS.items()
    ] + [[place, f"{place} and", own_words(first, f"{place} and"), "back", "statement"] for place in PLACES]
    with (folder / "places.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["item", "prompt", "answer", "direction", "wording"], *rows])
    (folder / "claims.toml").write_text(CLAIMS)

    def plan(**changes):
        described = {"name": "toy", "title": "Toy", "models": list(models), "lenses": ["logit", "raw"], "top_k": 4}
        described |= {"claims": "claims.toml", "sets": [{"name": "places.csv"}], "questions": OWN}
        return plan_study({key: value for key, value in (described | changes).items() if value}, "test", folder)

    return plan


@pytest.fixture(scope="module")
def run(asked, models, tmp_path_factory):
    """A stored run, with its models called as they are shown."""
    return shown_run(record(asked(), tmp_path_factory.mktemp("runs") / "run", load=models.__getitem__))


@pytest.fixture(scope="module")
def study(run):
    return study_of(run)


def as_estimate(found):
    return found and {"value": found.value, "low": found.low, "high": found.high, "n": found.n}


def test_claims_are_the_report_s(run, study):
    judged = Overview(run).judgements
    assert [claim["verdict"] for claim in study["claims"]] == [each.verdict for each in judged]
    for claim, each in zip(study["claims"], judged, strict=True):
        assert (claim["id"], claim["sentence"], claim["model"]) == (each.claim.id, each.claim.sentence, each.model)
        numbers = {name: claim[name] for name in ("value", "low", "high", "n")}
        assert numbers == (as_estimate(each.estimate) or dict.fromkeys(numbers))
        if each.missing:
            assert claim["because"] == each.missing
    late, few = study["claims"][0], study["claims"][-1]
    assert late["region"] == [0.1, None]
    assert late["over"] == "all questions"
    assert few["verdict"] == "cannot be judged"
    assert few["claimed"] == "0.80 .. 0.85 ± 1 layer"
    assert late["estimated"].startswith("Depth (layer / n)")


def test_cells_are_the_summary_s(run, study):
    found = [
        cell
        for by_wording in (False, True)
        for cases in cases_of(run)
        if cases.lens == "logit"
        for cell in set_summary.cells(cases, by_wording=by_wording)
    ]
    assert len(study["cells"]) == len(found) == 2 * (2 + 3)
    for cell in found:
        [shown] = [
            each
            for each in study["cells"]
            if (each["model"], each["set"], each["direction"], each["wording"])
            == (cell.model, cell.set, cell.direction, cell.wording)
        ]
        assert (shown["questions"], shown["items"]) == (cell.questions, cell.items)
        assert shown["known"] == as_estimate(cell.known)
        assert shown["depths"] == {name: as_estimate(depth) for name, depth in cell.depths.items()}


def test_curves_are_medians_over_items_with_a_known_answer(run, study):
    shown = {(each["model"], each["set"], each["measure"]): each for each in study["curves"]}
    some = False
    for cases in cases_of(run):
        if cases.lens != "logit":
            continue
        for point in curves.answer_prob_by_depth(cases):
            curve, some = shown[point.model, point.set, "answer_prob"], True
            numbers = [curve[name][point.layer] for name in ("depth", "value", "low", "high")]
            assert numbers == [point.depth, point.value, point.low, point.high]
            assert curve["n"] == point.n
        known = cases.known.of(set="places")
        if len(known):
            entropy = shown[cases.model, "places", "entropy_bits"]["value"][-1]
            by_item = [
                known.curves["entropy_bits"][np.array(known.items) == item, -1].astype(float).mean()
                for item in set(known.items)
            ]
            assert entropy == pytest.approx(np.median(by_item), rel=1e-6)
    assert some, "the first toy model knows some of its answers"


def test_questions_are_the_store_s_row_for_row(run, study):
    stored = run.questions().query("lens == 'logit'")
    columns = study["questions"]
    assert {len(values) for values in columns.values()} == {len(stored)}
    whole = run.layers().query("lens == 'logit'").groupby(["model", "question"])["answer_logprob"].last()
    for row, (_, kept) in enumerate(stored.iterrows()):
        assert study["models"][columns["model"][row]] == kept["model"]
        assert columns["id"][row] == kept["question"]
        for name in ("set", "item", "direction", "wording", "prompt", "answer", "known", *MILESTONES):
            value = kept[name]
            assert columns[name][row] == (None if value is None or value != value else value), name  # noqa: PLR0124
        prob = columns["output_prob"][row]
        if prob is None:
            assert kept["question"] == "probe"
        else:
            assert prob == pytest.approx(math.exp(whole[kept["model"], kept["question"]]), rel=1e-14)


def test_the_layers_of_every_question_are_the_store_s(run, study):
    layers = run.layers().query("lens == 'logit'")
    columns = study["questions"]
    assert study["notes"] == []
    for model, detail in zip(study["models"], study["details"], strict=True):
        assert detail["model"]["name"] == model
        texts = dict(zip(detail["texts"]["ids"], detail["texts"]["texts"], strict=True))
        ids, logprobs = unpacked(detail["top_ids"]), unpacked(detail["top_logprobs"])
        for place, row in enumerate(detail["rows"]):
            assert study["models"][columns["model"][row]] == model
            mine = layers.query("model == @model and question == @columns['id'][@row]")
            assert len(mine) == detail["n_layers"] + 1
            for layer, top in enumerate(mine["top"]):
                assert [texts[each] for each in ids[place, layer].tolist()] == [token["text"] for token in top]
                assert ids[place, layer].tolist() == [token["id"] for token in top]
                assert logprobs[place, layer] == pytest.approx([token["logprob"] for token in top], rel=1e-6)
            for name, part in detail["measures"].items():
                assert name in MEASURES
                assert np.array_equal(unpacked(part)[place], mine[name].to_numpy(np.float32)), name
            for name in ("prob", "rank", "logprob", "margin", "first_token_prob", "first_token_rank"):
                curve, stored = unpacked(detail["answer"][name])[place], mine[f"answer_{name}"].to_numpy(float)
                assert np.array_equal(curve, np.nan_to_num(stored) if "rank" in name else stored, equal_nan=True)


def test_a_question_says_its_tokens_and_what_decides(run, study, models):
    own = study["questions"]["id"].index("own")
    detail = study["details"][0]
    place = detail["rows"].index(own)
    trace = next(iter(models.values())).trace("The capital of Germany is", answer=" Berlin", alternatives=[" Paris"])
    texts = dict(zip(detail["texts"]["ids"], detail["texts"]["texts"], strict=True))
    assert [(each, texts[each]) for each in detail["tokens"][place]] == [(t.id, t.text) for t in trace.tokens]
    [answer] = trace.answer.answers
    decides = answer.deciding_token
    assert detail["answer"]["texts"][place] == [" Berlin"]
    assert detail["answer"]["deciding"][place] == {
        "id": decides.id,
        "text": decides.text,
        "index": answer.deciding_index,
    }
    assert detail["answer"]["ids"][place] == sorted(trace.answer.ids_after_prompt)
    probe = detail["rows"].index(study["questions"]["id"].index("probe"))
    assert detail["answer"]["deciding"][probe] is None
    assert detail["answer"]["ids"][probe] == []


def test_checks_are_the_largest_errors_of_a_model(run, study):
    stored = run.questions().query("lens == 'logit'")
    for detail in study["details"]:
        mine = stored[stored["model"] == detail["model"]["name"]]
        assert detail["checks"]["identity_error"] == mine["identity_error"].max()
        assert detail["checks"]["identity_limit"] == mine["identity_limit"].max()
        assert detail["trust"]["level"] == "good"


def test_the_same_run_gives_the_same_document(run, study):
    def text(made):
        return document_json(view_document([], study=made))

    assert text(study_of(run)) == text(study)


def test_a_run_of_its_own_questions_alone_has_no_cells_and_all_their_layers(asked, models, tmp_path):
    run = record(asked(sets=None, claims=None), tmp_path / "run", load=models.__getitem__)
    study = study_of(run)
    assert study["models"] == list(map(shown_name, models))
    assert study["claims"] == study["cells"] == study["curves"] == []
    assert study["questions"]["id"] == ["own", "probe"] * 2
    assert [detail["rows"] for detail in study["details"]] == [[0, 1], [2, 3]]
    assert document_json(view_document([], study=study))


@pytest.mark.parametrize("share", [0.9, 0.6, 0.1, 0.02])
def test_what_does_not_fit_is_left_out_and_said(run, study, share, monkeypatch):
    def size(made):
        return sum(
            array.nbytes
            for detail in made["details"]
            for array in map(
                unpacked,
                [
                    detail["top_ids"],
                    detail["top_logprobs"],
                    *detail["measures"].values(),
                    *(part for part in detail["answer"].values() if "base64" in part),
                ],
            )
        )

    room = int(share * size(study))
    monkeypatch.setattr(details, "ROOM", room)
    less = study_of(run)
    assert less["notes"]
    questions = len(study["questions"]["id"])
    kept = sum(len(detail["rows"]) for detail in less["details"])
    # Each model's first question is kept, however little room there is.
    assert size(less) <= room * 1.2 or kept == len(less["models"])
    assert less["questions"] == study["questions"]
    assert (kept < questions) == any(f"of {questions} questions" in note for note in less["notes"])
    whole, part = study["details"][1], less["details"][1]
    ranks = unpacked(part["top_ids"]).shape[-1]
    for place, row in enumerate(part["rows"]):
        there = whole["rows"].index(row)
        assert np.array_equal(unpacked(part["top_ids"])[place], unpacked(whole["top_ids"])[there, :, :ranks])
        assert part["tokens"][place] == whole["tokens"][there]


def test_a_model_that_failed_is_named(asked, models, tmp_path):
    first, second = models

    def load(name):
        if name == second:
            raise ModelError("No such model.")
        return models[name]

    study = study_of(record(asked(), tmp_path / "run", load=load))
    assert study["models"] == [shown_name(first)]
    assert any("incomplete" in warning for warning in study["warnings"])
    assert any(shown_name(second) in warning and "No such model." in warning for warning in study["warnings"])


def test_a_run_without_any_answer_is_a_document_that_says_so(asked, tmp_path):
    def load(name):
        raise ModelError("No such model.")

    study = study_of(record(asked(), tmp_path / "run", load=load))
    assert study["models"] == study["questions"]["id"] == study["details"] == []
    assert any("No model has answered" in warning for warning in study["warnings"])


def test_a_question_that_could_not_be_asked_is_left_out_and_counted(asked, models, tmp_path, monkeypatch):
    first = next(iter(models.values()))
    refuse = type(first).refusal
    monkeypatch.setattr(
        type(first),
        "refusal",
        lambda self, request: "Too long." if "Italy and" in request.prompt else refuse(self, request),
    )
    study = study_of(record(asked(), tmp_path / "run", load=models.__getitem__))
    assert not [prompt for prompt in study["questions"]["prompt"] if "Italy and" in prompt]
    assert any("2 questions could not be asked" in warning and "Too long." in warning for warning in study["warnings"])


def test_another_lens_is_named_where_it_is_the_only_one(asked, models, tmp_path):
    study = study_of(record(asked(lenses=["raw"]), tmp_path / "run", load=models.__getitem__))
    assert study["lens"] == "raw"
    assert any("raw lens" in warning for warning in study["warnings"])


def test_the_command_line_writes_a_run_s_view_and_leaves_its_folder_alone(run, tmp_path, monkeypatch, capsys):
    before = sorted(run.path.rglob("*"))
    out = tmp_path / "out.html"
    monkeypatch.setattr(sys, "argv", ["layerwise", "runs", "report", str(run.path), "--html", str(out)])
    with pytest.raises(SystemExit) as ended:
        run_app()
    assert not ended.value.code
    assert capsys.readouterr().out == f"View: {out}\n"
    assert '"layerwise view 1"' in out.read_text("utf-8")
    assert sorted(run.path.rglob("*")) == before
