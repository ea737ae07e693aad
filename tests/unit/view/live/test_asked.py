import json

import pytest

from layerwise.tracing.request import Request
from layerwise.view.live.asked import (
    EDIT_LIMIT,
    EDITS_LIMIT,
    PROMPT_LIMIT,
    TEXTS_LIMIT,
    Asked,
    AskedError,
    read_asked,
    read_name,
    read_together,
)

LEAST = {"model": "m", "prompt": "p"}


def read(**fields):
    return read_asked(json.dumps(LEAST | fields).encode())


def test_what_is_left_out_is_as_in_trace():
    assert read() == Asked("m", "logit", Request("p", leaders=True))


def test_everything_that_is_said_is_read():
    asked = read(
        lens="raw", positions="all", answer=[" Berlin"], alternatives=[" Paris"], track=[" a"], chat=True, top_k=3
    )
    assert asked.model == "m"
    assert asked.lens == "raw"
    assert asked.request == Request(
        "p",
        answers=(" Berlin",),
        alternatives=(" Paris",),
        track=(" a",),
        positions="all",
        top_k=3,
        chat=True,
        leaders=True,
    )


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": "a" * (PROMPT_LIMIT + 1)}, "20,000"),
        ({"prompt": "\ud800"}, "half of a character"),
        ({"model": ["m"]}, "model"),
        ({"answer": " Berlin"}, "answer"),
        ({"answer": [" Berlin", 5]}, "answer"),
        ({"track": ["a"] * (TEXTS_LIMIT + 1)}, "track"),
        ({"chat": 1}, "chat"),
        ({"top_k": True}, "top_k"),
        ({"top_k": 0}, "top_k"),
        ({"top_k": 10**9}, "top_k"),
        ({"top_k": 5.0}, "top_k"),
        ({"positions": "0," * 1000}, "positions"),
        ({"generate": 5}, "generate"),
    ],
)
def test_what_has_another_form_is_refused_by_name(fields, named):
    with pytest.raises(AskedError, match=named):
        read(**fields)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"5", b"null", b"\xff", b"[" * 100_000, b'{"model": NaN}'])
def test_what_is_no_object_is_refused(body):
    with pytest.raises(AskedError):
        read_asked(body)


def test_the_longest_prompt_is_taken():
    assert len(read(prompt="ä" * PROMPT_LIMIT).request.prompt) == PROMPT_LIMIT


def test_a_name_alone():
    assert read_name(b'{"run": "001"}', "run") == "001"
    for body in (b"{}", b'{"run": 1}', b'{"run": "001", "folder": "/"}'):
        with pytest.raises(AskedError):
            read_name(body, "run")


def test_edits_are_read_and_those_that_are_none_are_refused_in_their_own_words():
    assert read(edits=["scale 'layer 2@1' factor=0.5"]).request.edits == ("scale 'layer 2@1' factor=0.5",)
    for edits, said in [
        (["double mlp_out"], "no edit called 'double'"),
        ("zero mlp_out", "edits is a list"),
        (["zero mlp_out"] * (EDITS_LIMIT + 1), "at most 16 texts"),
        ([5], "edits is missing or not a text"),
        (["patch mlp_out source=" + "a" * EDIT_LIMIT], "edits has 40,021 characters"),
    ]:
        with pytest.raises(AskedError, match=said):
            read(edits=edits)


def test_the_lenses_of_edits_are_named_too():
    assert read(edits=["zero mlp_out"]).lenses == {"logit"}
    assert read(edits=["patch 'layer 2' of='layer 1' lens=jacobian:/etc"]).lenses == {"logit", "jacobian:/etc"}


def together(**fields):
    return read_together(json.dumps({"model": "m", "prompts": [{"prompt": "p"}]} | fields).encode())


def test_several_prompts_are_asked_for_together():
    asked = together(lens="raw", prompts=[{"prompt": "a"}, {"prompt": "b", "edits": ["zero mlp_out"], "track": [" x"]}])
    assert [each.request.prompt for each in asked] == ["a", "b"]
    assert asked[1].request == Request("b", track=(" x",), edits=("zero mlp_out",), leaders=True)
    assert {(each.model, each.lens) for each in asked} == {("m", "raw")}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"prompts": []}, "a list of 1 to 4"),
        ({"prompts": [{"prompt": "p"}] * 5}, "a list of 1 to 4"),
        ({"prompts": "p"}, "a list of 1 to 4"),
        ({"prompts": ["p"]}, "a JSON object"),
        ({"prompts": [{"prompt": "p", "model": "other"}]}, "no 'model'"),
        ({"edits": []}, "no 'edits'"),
    ],
)
def test_what_is_not_asked_together_is_refused(fields, said):
    with pytest.raises(AskedError, match=said):
        together(**fields)
