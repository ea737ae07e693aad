import json
from dataclasses import replace

import numpy as np
import pytest

import layerwise as lw
from layerwise.tracing.layer_measures import MEASURES
from layerwise.view.document import document_json, packed, unpacked, view_document
from tests.lenses import saved_lens

PROMPT = "The capital of Germany is"


@pytest.fixture(scope="module")
def trace(tiny):
    return tiny.trace(
        PROMPT, answer=(" Berlin", " Rome"), track=(" the", " Paris"), positions="all", top_k=3, generate=2
    )


@pytest.fixture(scope="module")
def part(trace):
    return view_document([trace])["traces"][0]


def test_a_document_says_what_it_is_and_is_called_after_its_first_prompt(trace):
    document = view_document([trace, trace])
    assert document["format"] == "layerwise view 1"
    assert document["title"] == PROMPT
    assert len(document["traces"]) == 2
    assert view_document([trace], title="Mine")["title"] == "Mine"
    assert view_document([], study={"title": "A study"})["title"] == "A study"


def test_a_title_is_one_line_without_what_could_not_be_seen(trace):
    shown = view_document([replace(trace, prompt="a\n\u202eb" + "x" * 500)])["title"]
    assert shown.startswith(r"a↵\u{202e}bxx")
    assert len(shown) <= 91


def test_arrays_come_back_with_their_shapes(trace, part):
    assert np.array_equal(unpacked(part["top_ids"]), trace.top_ids)
    assert np.array_equal(unpacked(part["top_logprobs"]), trace.top_logprobs)
    assert part["top_ids"]["shape"] == [5, len(part["positions"]), 3]
    for name in MEASURES:
        assert np.array_equal(unpacked(part["measures"][name]), getattr(trace, name))


def test_every_measure_is_described(part):
    assert list(part["described"]) == list(part["measures"]) == list(MEASURES)
    assert part["described"]["entropy_bits"] == {"title": "entropy", "unit": "bits", "scale": None}
    assert part["described"]["total_variation"]["scale"] == [0, 1]


def test_tokens_are_the_prompts_and_then_the_models(trace, part):
    assert part["tokens"] == [[t.id, t.text] for t in trace.tokens + trace.generated]
    assert part["generated"] == 2
    assert part["positions"] == list(trace.positions)


def test_every_id_has_a_text(part):
    known = set(part["texts"]["ids"])
    assert len(known) == len(part["texts"]["ids"]) == len(part["texts"]["texts"])
    assert part["texts"]["ids"] == sorted(known)
    used = set(unpacked(part["top_ids"]).ravel().tolist()) | {each["id"] for each in part["output"]}
    used |= {each["id"] for each in part["tracked"]} | set(part["answer"]["ids"]) | {part["answer"]["deciding"]["id"]}
    used |= {i for leaders in part["leaders"] or [] for i in leaders["ids"]}
    assert used <= known


def test_the_answer_is_read_layer_by_layer(trace, part):
    answer = part["answer"]
    assert answer["texts"] == [" Berlin", " Rome"]
    assert set(answer["ids"]) == trace.answer.ids_after_prompt
    assert answer["deciding"]["text"] == " Berlin"
    for name in ("prob", "rank", "logprob", "margin", "first_token_prob", "first_token_rank"):
        assert unpacked(answer[name]) == pytest.approx(getattr(trace.answer, name))
    assert part["wrong"] is None


def test_followed_tokens_have_a_value_in_every_cell(trace, part):
    assert [each["text"] for each in part["tracked"]] == [t.token.text for t in trace.tracked]
    for each, tracked in zip(part["tracked"], trace.tracked, strict=True):
        assert np.array_equal(unpacked(each["logprobs"]), tracked.logprob.astype(np.float32))
        assert np.array_equal(unpacked(each["ranks"]), tracked.rank)


def test_what_was_checked_and_where_it_ran_goes_along(trace, part):
    assert part["model"]["dtype"] == "float32"
    assert part["checks"]["identity_error"] == trace.checks.identity_error
    assert part["trust"]["level"] == "good"
    assert part["milestones"]["settled_top1"] == trace.milestones.settled_top1
    assert part["versions"] == trace.versions


def test_the_same_trace_is_the_same_text_and_the_text_is_ascii(tiny, trace):
    text = document_json(view_document([trace]))
    assert text == document_json(view_document([trace]))
    assert text.isascii()
    assert json.loads(text)["traces"][0]["tokens"][0] == [trace.tokens[0].id, trace.tokens[0].text]


def test_no_number_outside_of_an_array_may_be_nan(trace):
    broken = replace(trace, checks=replace(trace.checks, identity_error=float("nan")))
    with pytest.raises(ValueError, match="not JSON compliant"):
        document_json(view_document([broken]))


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (np.array([[1.5, np.nan], [-np.inf, 0]]), "float32"),
        (np.array([1, 2**31 - 1]), "int32"),
        (np.array([True, False]), "uint8"),
        (np.zeros((2, 0, 3), dtype=np.float32), "float32"),
    ],
)
def test_arrays_of_every_kind(array, kind):
    stored = packed(array)
    assert stored["type"] == kind
    assert np.array_equal(unpacked(stored), array, equal_nan=True)


def test_an_integer_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="beyond int32"):
        packed(np.array([2**31]))


def test_a_fitted_lens_stands_beside_the_logit_lens(tiny, tmp_path):
    """Traces that differ in nothing but the lens are one entry with a toggle, told apart by the lens's name."""
    folder = saved_lens(tmp_path / "home" / "mine", tiny)
    [traces] = tiny.trace_all([lw.Request("The capital of Germany is")], lenses=["logit", f"ridge:{folder}"])
    document = view_document(traces)
    assert [part["lens"] for part in document["traces"]] == ["logit", "ridge:mine"]
    assert len({part["label"].replace(part["lens"], "") for part in document["traces"]}) == 1
    assert document["traces"][1]["trust"]["level"] == "good", "its last layer is the output"
    assert "home" not in document_json(document)
