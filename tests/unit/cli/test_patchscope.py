"""`layerwise patchscope`: a table on stdout, messages on stderr, files where they were asked for."""

import json
import shlex

import pytest

from layerwise.causal.patchscope import IDENTITY, PLACEHOLDER
from layerwise.cli import patchscope

PROMPT = "The capital of Germany is"


@pytest.fixture
def asked(family_folder):
    return "patchscope", PROMPT, "--model", str(family_folder("qwen3")), "--quiet"


def test_a_row_is_printed_for_each_layer_and_one_as_an_edit(layerwise, asked):
    code, out, _ = layerwise(*asked, "--position", "Germany", "--answer", " Berlin", "--generate", "2")
    assert code == 0
    rows = [line for line in out.splitlines() if line.strip().split(" ")[0].isdigit()]
    assert len(rows) == 4
    assert "elsewhere" in out
    assert "goes on" in out
    edit = shlex.split(out.splitlines()[-1].split("--edit ")[1])[0]
    code, _, _ = layerwise("trace", IDENTITY, *asked[2:], "--edit", edit)
    assert code == 0


def test_a_grid_is_printed_by_both_layers(layerwise, asked, tmp_path, monkeypatch):
    monkeypatch.setattr("layerwise.cli.console._WIDTH_IN_FILES", 30)
    code, out, err = layerwise(*asked, "--to-layers", "all", "--figures", str(tmp_path))
    assert code == 0
    assert "whose layer (down)" in " ".join(out.split())
    assert "2 more layers across" in err
    assert {each.name for each in tmp_path.iterdir()} == {"patchscope.png", "patchscope.svg"}


def test_json_on_stdout_is_alone_there(layerwise, asked):
    code, out, _ = layerwise(*asked, "--target", "Paris is in X and", "--at", "X", "--layers", "1:3", "--json", "-")
    assert code == 0
    assert [each["layer"] for each in json.loads(out)["states"]] == [1, 2]


def test_its_defaults_are_those_of_the_function():
    assert (patchscope._IDENTITY, patchscope._PLACEHOLDER) == (IDENTITY, PLACEHOLDER)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--target", "Paris is in France"), "'?', the span 'at', stands nowhere"),
        (("--position", "Spain"), "stands nowhere in the prompt"),
        (("--layers", "40"), "none of this model's, 0 to 4"),
        (("--to-layers", "4"), "read at the target's last position only"),
    ],
)
def test_what_cannot_be_read_is_one_message(layerwise, asked, arguments, said):
    code, out, err = layerwise(*asked, *arguments)
    assert code == 1
    assert said in " ".join(err.split())
    assert not out
