"""The published tables, names, tolerances and token matching, one by one."""

import hashlib
import math
from importlib import resources

import pytest

from layerwise.reference import published as pub
from layerwise.reference.agreement import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    TOLERANCES,
    first_agrees,
    log_odds,
    probs_agree,
    tightest,
    up_to,
)
from layerwise.reference.measured import Listed

FILES = {  # rows, and the start of the file's SHA-256
    pub.SEED: (140, "0a5dfed10c4d2789"),
    pub.SEED_OUTPUT: (20, "6be8abc1b232c537"),
    pub.SEED_PROBES: (36, "3dcdda5b5f201982"),
    pub.SEED_TEMPERATURE: (40, "51b0bcdb76f1a675"),
    pub.DENSE: (142, "052ff001830e25e7"),
    pub.LATER_PROBES: (280, "abc0faf5de7ef3e0"),
    pub.CANONICAL: (146, "9359e98d36db073c"),
    pub.LATEST: (498, "99659010393184bc"),
    pub.LATEST_SUMMARY: (10, "3e302195be9519ec"),
}


@pytest.mark.parametrize("file", FILES)
def test_every_published_table_is_carried_byte_for_byte_and_parses(file: str):
    rows, digest = FILES[file]
    data = (resources.files("layerwise.reference") / "data" / file).read_bytes()
    assert hashlib.sha256(data).hexdigest().startswith(digest)
    assert len(pub.table(file)) == rows
    assert {row["model"] for row in pub.table(file)} <= set(pub.published_models())
    assert all(None not in row and None not in row.values() for row in pub.table(file))  # quoting went wrong


def test_no_published_table_is_left_unread():
    folder = resources.files("layerwise.reference") / "data"
    assert {each.name for each in folder.iterdir()} == {*FILES, "README.md"}


def test_prompts_with_commas_and_tokens_of_quotes_and_newlines_survive():
    probes = pub.rows(pub.LATER_PROBES, "Qwen3-8B")
    assert "Give the city name only, plain text. In Germany, the capital city is known as" in {
        row["prompt"] for row in probes
    }
    assert ' "' in {row["token"] for row in probes}
    assert "\n\n" in {row["token"] for row in pub.rows(pub.SEED_PROBES, "gemma-2-9b")}


def test_a_probability_that_was_not_published_is_nan():
    first = pub.rows(pub.DENSE, "Qwen3-8B")[0]
    assert math.isnan(first["p_answer_top20"])
    assert first["top1_prob"] == 0.211549


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("Qwen/Qwen3-8B", "Qwen3-8B"),
        ("qwen3-8b", "Qwen3-8B"),
        ("meta-llama/Meta-Llama-3-8B", "Meta-Llama-3-8B"),
        ("llama-3-8b", "Meta-Llama-3-8B"),
        ("mistralai/Mistral-7B-v0.1", "Mistral-7B-v0.1"),
        ("Mistral-7B", "Mistral-7B-v0.1"),
        ("google/gemma-2-9b", "gemma-2-9b"),
        ("GEMMA-2-9B", "gemma-2-9b"),
        ("/data/models/Qwen3-8B/", "Qwen3-8B"),
        ("C:\\models\\gemma-2-9b", "gemma-2-9b"),
        ("01-ai/Yi-34B", "Yi-34B"),
        ("google/gemma-2-9b-it", None),
        ("meta-llama/Llama-3.1-8B", None),
        ("smollm2-135m", None),
        ("gemma-3-270m", None),
    ],
)
def test_models_are_matched_by_the_last_part_of_their_name(asked: str, name: str | None):
    assert pub.published_name(asked) == name


def test_a_location_is_tried_where_the_name_says_nothing():
    assert pub.published_name("my model", "Qwen/Qwen3-8B") == "Qwen3-8B"


def test_the_published_runs_agree_with_one_another_as_float32_does():
    """The evidence for the tightest tolerance: two published runs of the same prompts."""
    later = {(r["model"], r["prompt"], r["token"]): r["prob"] for r in pub.table(pub.LATER_PROBES)}
    pairs = [
        (row["prob"], later[key])
        for row in pub.table(pub.SEED_PROBES)
        if (key := (row["model"], row["prompt"], row["token"])) in later
    ]
    assert len(pairs) == 12
    assert max(abs(log_odds(a) - log_odds(b)) for a, b in pairs) < 2.4e-4
    assert all(probs_agree(a, b, FLOAT32) for a, b in pairs)


def test_the_published_bfloat16_runs_are_off_their_own_output():
    """Evidence from three large models: lens at the last layer against the output."""
    apart = [
        abs(log_odds(row["p_answer_lens_last"]) - log_odds(row["p_answer_final"]))
        for row in pub.table(pub.LATEST_SUMMARY)
        if row["dtype"] == "bfloat16"
    ]
    assert len(apart) == 3
    assert FLOAT32.log_odds / 2 < min(apart) <= max(apart) < BFLOAT16.log_odds
    assert max(apart) == pytest.approx(0.0376, abs=5e-4)


def test_a_probability_must_agree_in_odds_and_in_itself():
    assert not probs_agree(0.007558, 1e-6, BFLOAT16)  # a difference of .008 alone would pass
    assert not probs_agree(0.5, 0.6, BFLOAT16)  # odds alone would pass
    assert probs_agree(0.719232, 0.719238, FLOAT32)
    assert not probs_agree(0.9992, 0.9980, FLOAT32)


def test_rounding_to_six_decimals_is_allowed_for():
    assert probs_agree(0.0, 1e-9, FLOAT32)
    assert probs_agree(1.0, 1 - 1e-9, FLOAT32)
    assert not probs_agree(0.0, 1e-3, BFLOAT16)


def test_low_temperatures_widen_the_tolerance():
    logit = log_odds(0.9)
    shifted = 1 / (1 + math.exp(-(logit + 0.05)))
    assert not probs_agree(0.9, shifted, FLOAT32)
    assert probs_agree(0.9, shifted, FLOAT32, temperature=0.1)


def test_the_tightest_tolerance_that_holds_is_named():
    assert tightest(lambda t: t.bits >= 0.02) is FLOAT16
    assert tightest(lambda t: False) is None
    assert up_to("float32") == (FLOAT32,)
    assert up_to("float32", "bfloat16") == TOLERANCES
    assert up_to(None) == TOLERANCES


def test_a_first_layer_may_not_hold_clearly_any_earlier():
    assert first_agrees(3, {1: -2.0, 2: 0.005, 3: 1.0}, FLOAT32)
    assert not first_agrees(3, {1: -2.0, 2: 0.5, 3: 1.0}, FLOAT32)
    assert not first_agrees(3, {1: -2.0, 2: -1.0, 3: -0.5}, FLOAT32)


def test_the_very_same_text_comes_before_one_with_other_spaces():
    listed = Listed(((" Berlin", 0.9), ("Berlin", 0.05)))
    found = listed.find("Berlin", 0.9)
    assert found is not None
    assert (found.text, found.note) == ("Berlin", "")
    lost = listed.find("Berlin", 0.9, spaces_lost=True)
    assert lost is not None
    assert lost.text == " Berlin"
    assert "white space" in lost.note


def test_texts_that_were_lost_are_matched_by_probability_among_their_kind():
    listed = Listed((("The", 0.4), ("\n", 0.3), (" ", 0.01), ("\\xe2\\x96", 0.005)))
    newline = listed.find(" ", 0.31)
    assert newline is not None
    assert newline.text == "\n"
    assert "nearest" in newline.note
    half = listed.find("\ufffd", 0.4)
    assert half is not None
    assert half.prob == 0.005
    assert Listed((("The", 1.0),)).find("\n", 0.5) is None
