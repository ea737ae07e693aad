"""`layerwise questions`, and its documentation: every file and every output in docs/questions.md."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from layerwise.questions.sets import open_set, shipped_sets
from layerwise.studies.study import read_study

DOC = (Path(__file__).parents[3] / "docs" / "questions.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"`([\w.]+)`:\n\n```\w+\n(.*?)```", DOC, re.DOTALL))
BLOCKS = re.findall(r"```console\n(.*?)```", DOC, re.DOTALL)
CALLS = [call for block in BLOCKS for call in re.findall(r"\$ (.*?)\n(.*?)(?=\n\$ |\Z)", block, re.DOTALL)]

CSV = """\
prompt,answer,alternatives
The capital of Germany is,Berlin,Paris
The capital of France is,Paris,
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plain(text: str) -> str:
    """Return a console's output without the white space that fills its lines and surrounds it."""
    return "\n".join(line.rstrip() for line in text.splitlines()).strip()


# The documentation.


def test_the_documentation_has_files_and_calls():
    tables = {"mine.csv", "more.jsonl", "bare.csv", "rivers.csv", "broken.csv", "header.csv"}
    assert tables | {"rivers.toml", "study.toml"} == set(FILES)
    assert len(CALLS) == sum(block.count("$ layerwise") for block in BLOCKS) == 8


@pytest.mark.parametrize(("call", "said"), CALLS, ids=[call for call, _ in CALLS])
def test_a_call_in_the_documentation_prints_what_stands_there(layerwise, folder, call, said):
    for name, content in FILES.items():
        (folder / name).write_text(content, encoding="utf-8")
    program, *arguments = shlex.split(call)
    code, out, err = layerwise(*arguments)
    assert program == "layerwise"
    assert code == said.startswith("Error")
    assert plain(out + err) == plain(said)


def test_the_study_in_the_documentation_can_be_planned(folder):
    for name, content in FILES.items():
        (folder / name).write_text(content, encoding="utf-8")
    planned = read_study(folder / "study.toml")
    assert list(planned.sets) == ["rivers.toml", "mine.csv", "capitals"]
    assert len(planned.questions) == 18 + 3 + 50 * 4


def test_the_program_for_semicolons_makes_a_table_that_can_be_asked(layerwise, folder):
    (folder / "mine.csv").write_text('\ufeffprompt;answer\n"Bread, butter and";"jam ""é"""\n', encoding="utf-8")
    assert "parted by commas in CSV, and here by ';'" in layerwise("questions", "validate", "mine.csv")[2]
    [program] = re.findall(r"```python\n(.*?)```", DOC, re.DOTALL)
    subprocess.run([sys.executable, "-c", program], check=True)
    [question] = open_set("commas.csv").questions
    assert (question.prompt, question.answers) == ("Bread, butter and", (' jam "é"',))


# The commands.


def test_the_list_counts_every_shipped_set(layerwise):
    code, out, _ = layerwise("questions", "list")
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line.strip() and "─" not in line}
    assert code == 0
    assert set(rows) == {"set", *shipped_sets()}
    assert rows["capitals"][-5:] == ["168", "2", "8", "1,344", "1"]
    assert layerwise("questions")[1] == out


def test_show_prints_facts_wordings_and_examples(layerwise):
    code, out, _ = layerwise("questions", "show", "capitals", "--items", "2")
    assert code == 0
    assert out.startswith("capitals, version 1: Capitals of countries\n168 items, 1,344 questions, sum ")
    assert "Source: Written from general knowledge" in out
    assert "  record         Country: Afghanistan; capital:" in out
    examples = out[out.index("alternatives") :]
    chosen = open_set("capitals").some(items=2, wordings=["statement"])
    for question in chosen:
        assert question.prompt in examples
        assert question.alternatives[0].strip() in examples
    assert len(plain(examples).splitlines()) == 2 + len(chosen)
    assert "alternatives" not in layerwise("questions", "show", "symbols", "--items", "0")[1]


def test_show_writes_all_questions_as_json(layerwise, tmp_path):
    _, out, _ = layerwise("questions", "show", "opposites", "--json", "-")
    found, opened = json.loads(out), open_set("opposites")
    assert (found["name"], found["version"], found["sum"]) == ("opposites", 1, opened.sum)
    assert len(found["questions"]) == len(opened.questions)
    assert found["questions"][0]["answers"] == [" cold"]
    assert layerwise("questions", "show", "opposites", "--json", str(tmp_path / "all.json"))[:2] == (0, "")
    assert json.loads((tmp_path / "all.json").read_text(encoding="utf-8")) == found


def test_what_is_no_set_is_refused(layerwise):
    code, _, err = layerwise("questions", "show", "rivers")
    assert code == 1
    assert "no question set 'rivers'. Shipped sets: arithmetic, capitals" in err


def test_validate_tells_of_questions_that_have_no_control(layerwise, folder):
    (folder / "mine.csv").write_text(CSV, encoding="utf-8")
    code, out, _ = layerwise("questions", "validate", "mine.csv")
    assert code == 0
    assert out.splitlines()[0] == "mine.csv: 2 items, 2 questions"
    assert out.splitlines()[1].startswith("1 question without alternatives")


def test_validate_counts_the_directions_and_wordings_that_have_a_name(layerwise, folder):
    rows = ["A,a,there,one,x", "B,b,there,two,x", "C,c,back,one,x", "D,d,back,,y", "E,e,,,y"]
    (folder / "mine.csv").write_text("\n".join(["prompt,answer,direction,wording,group", *rows]), encoding="utf-8")
    assert layerwise("questions", "validate", "mine.csv")[1].splitlines()[0] == (
        "mine.csv: 5 items, 5 questions, 2 directions (1 question without one), 3 wordings (2 questions without one)"
    )


def test_validate_hints_on_stderr_at_what_is_probably_not_meant(layerwise, folder):
    rows = "".join(f"What is the capital of {name}?,{name} City;Town,x\n" for name in ("Peru", "Chad", "Cuba", "Mali"))
    (folder / "mine.csv").write_text("prompt,answer,alternatives\n" + rows, encoding="utf-8")
    code, out, err = layerwise("questions", "validate", "mine.csv")
    assert (code, out) == (0, "mine.csv: 4 items, 4 questions\n")
    first, *more = err.splitlines()
    assert first.startswith("Hint: The prompt ends in a question mark.")
    assert more[:4] == [
        "  mine/row-2: What is the capital of Peru?",
        "  mine/row-3: What is the capital of Chad?",
        "  mine/row-4: What is the capital of Cuba?",
        "  … and 1 more",
    ]
    assert more[4].startswith("Hint: The answer looks like several forms")
    assert more[5] == "  mine/row-2: Peru City;Town"


def test_validate_takes_a_study_and_hints_at_its_own_answers(layerwise, folder):
    (folder / "mine.csv").write_text(CSV, encoding="utf-8")
    (folder / "study.toml").write_text(
        'name = "s"\ntitle = "S"\nmodels = ["m"]\n[[sets]]\nname = "mine.csv"\n'
        '[[questions]]\nid = "germany"\nprompt = "The capital of Germany is"\nanswers = ["Berlin"]\n',
        encoding="utf-8",
    )
    code, out, err = layerwise("questions", "validate", "study.toml")
    assert (code, out.splitlines()[0]) == (0, "study.toml: 3 items, 3 questions")
    assert err.startswith("Hint: The answer stands right after the prompt, without a space")
    assert err.endswith("  germany: The capital of Germany isBerlin\n")


def test_validate_names_every_row_that_cannot_be_asked(layerwise, folder):
    (folder / "mine.csv").write_text("prompt,answer\n,a\nfine,b\nAlone,\n", encoding="utf-8")
    code, out, err = layerwise("questions", "validate", "mine.csv")
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        "Error: mine.csv, line 2 (, a): has no 'prompt'.",
        "mine.csv, line 4 (Alone, ): has no 'answer'.",
    ]


def test_validate_with_a_model_says_what_its_tokenizer_refuses(layerwise, folder, family_folder):
    model = str(family_folder("qwen3"))
    (folder / "mine.csv").write_text(CSV, encoding="utf-8")
    code, out, _ = layerwise("questions", "validate", "mine.csv", "--model", model, "--device", "cpu")
    assert code == 0
    assert out.splitlines()[-1] == f"{model} can be asked all of them"

    (folder / "mine.csv").write_text(CSV + "He lives in,the city,the city of Paris\n", encoding="utf-8")
    code, out, err = layerwise("questions", "validate", "mine.csv", "--model", model, "--device", "cpu")
    assert code == 1
    assert "  mine/row-4: No token tells the answer ' the city' from the alternative ' the city of Paris'" in out
    assert "would be asked 2 of 3 questions" in err


def test_the_first_twenty_refusals_are_shown(layerwise, folder, family_folder):
    rows = "".join(f"He {'really ' * n}lives in,the city,the city of Paris\n" for n in range(25))
    (folder / "mine.csv").write_text("prompt,answer,alternatives\n" + rows, encoding="utf-8")
    model = str(family_folder("qwen3"))
    _, out, err = layerwise("questions", "validate", "mine.csv", "--model", model, "--device", "cpu")
    assert out.count("No token tells") == 20
    assert "… and 5 more" in out
    assert "would be asked 0 of 25 questions" in err


def test_nothing_from_a_file_can_steer_the_terminal(layerwise, folder):
    nasty = "\x1b[2J\u202e\x07[bold]x[/bold]"
    row = dict.fromkeys(("item", "prompt", "answer", "direction", "wording", "group"), nasty)
    (folder / "mine.jsonl").write_text(json.dumps(row | {"alternatives": "a"}), encoding="utf-8")
    (folder / "bad.jsonl").write_text(json.dumps(row | {nasty: "a"}), encoding="utf-8")
    text, template = json.dumps(nasty), json.dumps(nasty + "{b}")
    toml = f"name = 'x'\nversion = 1\ntitle = {text}\nsource = {text}\ndescription = {text}\nitems = 'x.csv'\n"
    toml += f"directions.d = {{answer = 'a', wordings.w = {template}}}\n"
    (folder / "x.toml").write_text(toml, encoding="utf-8")
    (folder / "x.csv").write_text("item,a,b\none,two,three\n", encoding="utf-8")
    for arguments in (
        ("show", "mine.jsonl"),
        ("validate", "mine.jsonl"),
        ("validate", "bad.jsonl"),
        ("show", "x.toml"),
    ):
        code, out, err = layerwise("questions", *arguments)
        assert code == (arguments[1] == "bad.jsonl"), err
        assert not {"\x1b", "\u202e", "\x07"} & set(out + err)
        assert "[bold]" in out + err or arguments[0] == "validate"


def test_help_of_the_commands_has_examples(layerwise):
    for command in ("list", "show", "validate"):
        code, out, _ = layerwise("questions", command, "--help")
        assert code == 0
        assert f"Example: layerwise questions {command}" in " ".join(out.split())
