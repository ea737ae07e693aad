"""The prompts with an unspoken intermediate: what a lens may find has to be absent from all that is written."""

import json
import re
from collections import Counter
from importlib.resources import files

import pytest

DATA = files("layerwise") / "evaluation" / "data" / "unspoken.json"
CATEGORIES = {
    "multi-hop",
    "association",
    "typo",
    "order of operations",
    "antonym by definition",
    "cross-language",
}


def written(word: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None


def faults(item: dict) -> list[str]:
    """What is wrong with one item, by itself."""
    wrong = []
    slug = item["category"].replace(" ", "-")
    if not re.fullmatch(rf"{slug}/[a-z0-9-]+", item["name"]):
        wrong.append("the name does not begin with its category")
    words = [*item["intermediates"], *(word for each in item.get("accepted", {}).values() for word in each)]
    if not words or not any(a["answer"] in words for a in item["asked"]):
        wrong.append("no intermediate is asked for")
    if any(a["answer"] not in words for a in item["asked"]):
        wrong.append("something else is asked for")
    target = item["target"].strip().casefold()
    for word in words:
        if word != word.strip() or not word:
            wrong.append(f"space around {word!r}")
        if any(written(word, prompt) for prompt in [item["prompt"], *(a["prompt"] for a in item["asked"])]):
            wrong.append(f"{word!r} is written in a prompt")
        if target.startswith(word.casefold()) or word.casefold().startswith(target):
            wrong.append(f"{word!r} begins as the target does")
    if any(prompt != prompt.rstrip() for prompt in [item["prompt"], *(a["prompt"] for a in item["asked"])]):
        wrong.append("a prompt ends with a space")
    if not target or item["target"] != item["target"].rstrip():
        wrong.append("the target is empty or ends with a space")
    return wrong


@pytest.fixture(scope="module")
def items() -> list[dict]:
    return json.loads(DATA.read_text(encoding="utf-8"))["items"]


def test_every_item_leaves_its_intermediate_unspoken(items: list[dict]) -> None:
    assert {item["name"]: wrong for item in items if (wrong := faults(item))} == {}


def test_items_have_these_keys_and_no_others(items: list[dict]) -> None:
    for item in items:
        keys = [key for key in item if key != "accepted"]
        assert keys == ["name", "category", "prompt", "target", "intermediates", "asked"]
        assert set(item.get("accepted", {})) <= set(item["intermediates"])
        assert all(list(asked) == ["prompt", "answer"] for asked in item["asked"])


def test_names_and_prompts_occur_once(items: list[dict]) -> None:
    for key in ("name", "prompt"):
        assert [one for one, times in Counter(item[key] for item in items).items() if times > 1] == []


def test_six_categories_have_enough_items(items: list[dict]) -> None:
    counts = Counter(item["category"] for item in items)
    assert set(counts) == CATEGORIES
    assert min(counts.values()) >= 25
    assert counts.total() >= 150


GOOD = {
    "name": "multi-hop/tower",
    "category": "multi-hop",
    "prompt": "The capital of the country of the Eiffel Tower is",
    "target": " Paris",
    "intermediates": ["France"],
    "asked": [{"prompt": "The Eiffel Tower is in", "answer": "France"}],
}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"name": "typo/tower"}, "name does not begin"),
        ({"prompt": "The capital of france is"}, "is written in a prompt"),
        ({"prompt": "The capital is "}, "ends with a space"),
        ({"target": " france"}, "begins as the target does"),
        ({"target": " "}, "target is empty"),
        ({"intermediates": [" France"]}, "space around"),
        ({"accepted": {"France": ["Paris"]}}, "begins as the target does"),
        ({"asked": []}, "no intermediate is asked for"),
        ({"asked": [{"prompt": "It is in", "answer": "Spain"}]}, "something else is asked for"),
        ({"asked": [{"prompt": "France is", "answer": "France"}]}, "is written in a prompt"),
    ],
)
def test_a_bad_item_would_be_found(change: dict, complaint: str) -> None:
    assert faults(GOOD) == []
    assert any(complaint in fault for fault in faults(GOOD | change))
