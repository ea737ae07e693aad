"""Sets of unspoken intermediates: the published form and our own."""

import json

import pytest

from layerwise.errors import QuestionError
from layerwise.evaluation.items import categories, own_items, read_items
from layerwise.tracing.request import Message

PUBLISHED = {
    "name": "carnival",
    "prompt": "Fact: the sea beside the country of the largest carnival is the",
    "target": "Atlantic",
    "intermediates": ["Brazil"],
}


def write(path, items):
    path.write_text(json.dumps({"items": items}), encoding="utf-8")
    return path


def test_the_published_form_is_read_and_its_file_names_the_category(tmp_path):
    [item] = read_items(write(tmp_path / "lens-eval-multihop.json", [PUBLISHED]))
    assert (item.name, item.category, item.target) == ("carnival", "multihop", "Atlantic")
    assert (item.prompt, item.words, item.asked) == (PUBLISHED["prompt"], [("Brazil",)], ())


def test_a_list_alone_is_read_too(tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps([PUBLISHED, PUBLISHED | {"name": "b"}]), encoding="utf-8")
    assert [item.category for item in read_items(tmp_path / "mine.json")] == ["mine", "mine"]


@pytest.mark.parametrize(
    ("file", "prompt", "target", "read"),
    [
        ("lens-eval-multihop.json", "The sea is the Atlantic", "Atlantic", "The sea is the"),
        ("lens-eval-multihop.json", "The sea is the", "Atlantic", "The sea is the"),
        ("lens-eval-multihop.json", "The Atlantic is a", "Atlantic", "The Atlantic is a"),
        ("lens-eval-order-ops.json", "(7 + 4) // 3 = ", "3", "(7 + 4) // 3 = "),
        ("lens-eval-poetry.json", "A cat sat on the mat\nand wore a ", None, "A cat sat on the mat\n"),
        ("lens-eval-association.json", "He wept.\nNobody came.", None, "He wept.\nNobody came."),
    ],
)
def test_a_prompt_ends_where_it_is_read(tmp_path, file, prompt, target, read):
    [item] = read_items(write(tmp_path / file, [PUBLISHED | {"prompt": prompt, "target": target}]))
    assert item.prompt == read


def test_messages_are_a_prompt(tmp_path):
    [item] = read_items(write(tmp_path / "chat.json", [PUBLISHED | {"prompt": [{"role": "user", "content": "Hi"}]}]))
    assert item.prompt == (Message("user", "Hi"),)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"prompt": ""}, "item 1.*prompt should be a text"),
        ({"prompt": 3}, "prompt should be a text"),
        ({"target": 3}, "target should be a text"),
        ({"intermediates": "Brazil"}, "intermediates should be a list of words"),
        ({"intermediates": []}, "intermediates should be a list of words"),
        ({"intermediates": [" "]}, "intermediates should be a list of words"),
        ({"accepted": {"Peru": ["Lima"]}}, "accepted should give lists"),
        ({"asked": [{"prompt": "It is"}]}, "asked should be a list of objects"),
        ({"asked": [{"prompt": "It is", "answer": "Peru"}]}, "should be one of the intermediates"),
    ],
)
def test_what_is_wrong_with_an_item_is_said(tmp_path, change, complaint):
    with pytest.raises(QuestionError, match=complaint):
        read_items(write(tmp_path / "set.json", [PUBLISHED | change]))


@pytest.mark.parametrize(
    ("text", "complaint"), [("{", "is no JSON"), ("{}", "holds no items"), ("[]", "holds no items"), ("[1]", "item 1")]
)
def test_a_file_without_items_is_refused(tmp_path, text, complaint):
    (tmp_path / "set.json").write_text(text)
    with pytest.raises(QuestionError, match=complaint):
        read_items(tmp_path / "set.json")


def test_two_items_of_one_name_are_refused(tmp_path):
    with pytest.raises(QuestionError, match="2 items called 'carnival'"):
        read_items(write(tmp_path / "set.json", [PUBLISHED, PUBLISHED]))


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(QuestionError, match="cannot be read"):
        read_items(tmp_path / "none.json")


def test_our_own_set_can_be_read_and_asks_for_an_intermediate_of_each():
    items = own_items()
    assert len(categories(items)) == 6
    for item in items:
        assert {at for at, _ in item.asked_for()} == set(range(len(item.words))), item.name
