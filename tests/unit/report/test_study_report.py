"""The report of question sets says what the stored run says, and nothing that it quotes becomes markup."""

import csv
import html
import json
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt

import layerwise as lw
from layerwise.analysis import set_summary
from layerwise.analysis.cases import cases_of
from layerwise.analysis.judging import judge
from layerwise.analysis.overview import Overview
from layerwise.analysis.wordings import Instead, spreads
from layerwise.errors import ModelError
from layerwise.execution.recording import record
from layerwise.lenses.folder import save_lens
from layerwise.measures.uncertainty import Estimate
from layerwise.report import study_figures, study_report
from layerwise.report.markdown import write_report
from layerwise.report.rendering import depth, interval, percent
from layerwise.report.statements import _about_known, _about_other_leaders, _about_wordings, statements
from layerwise.store.shown_names import shown_run
from layerwise.studies.claim_files import Claim
from layerwise.studies.study import plan_study
from layerwise.text import counted, one_line, visible
from layerwise.types import shown_name
from tests.lenses import card_for, random_translators

PLACES = ["Germany", "France", "Italy", "the city", "the river", "New York", "the castle", "Rome", "Paris", "a king"]
WORDINGS = {"statement": "The capital of {} is a", "question": "Question: What is the capital of {}? Answer:"}
CLAIMS = """
[[claims]]
id = "norm"
sentence = "The norm matters."
estimator = "norm_matters"
region = "> 0.001"
over = "all"
null = "No."
[[claims]]
id = "few"
sentence = "Few items settle."
estimator = "settled_depth"
region = "0.80 .. 0.85"
widened_by_layers = 1
sets = ["places"]
least_items = 1000
null = "No."
[[claims]]
id = "known"
sentence = "They settle late."
estimator = "settled_depth"
region = "> 0.1"
over = "all"
null = "No."
[[claims]]
id = "gone"
sentence = "Another set."
estimator = "settled_depth"
region = "> 0.1"
least_items = 500
null = "No."
"""


def own_words(model, prompt):
    """Return what a model itself says after a prompt, where it can stand in a table and leads back to its token."""
    text = model.trace(prompt).output[0].text
    fit = text == f" {text.strip()}" and "|" not in text and model.trace(prompt, answer=text).answer.known
    return text.strip() if fit else None


@pytest.fixture(scope="module")
def models(load_family):
    return {
        load_family(name).info.name: load_family(name) for name in ("gemma2", "qwen3")
    }  # the first one echoes, and so knows some answers


@pytest.fixture(scope="module")
def run(models, tmp_path_factory):
    """Two toy models on two sets, some of whose answers the first model knows, and two questions of the study's own."""
    folder = tmp_path_factory.mktemp("study")
    first = next(iter(models.values()))
    rows = []
    for place in PLACES:
        for wording, template in WORDINGS.items():
            prompt = template.format(place)
            rows.append([place, prompt, own_words(first, prompt) or "Berlin", "there", wording, "g"])
        rows.append([place, f"{place} and", own_words(first, f"{place} and") or "Paris", "back", "statement", "g"])
    with (folder / "places.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["item", "prompt", "answer", "direction", "wording", "group"], *rows])
    (folder / "plain.csv").write_text(
        "prompt,answer,alternatives\n" + "".join(f"Two and {n} make,four,five|six\n" for n in range(6))
    )
    (folder / "claims.toml").write_text(CLAIMS)
    study = plan_study(
        {
            "name": "toy",
            "title": "Toy",
            "models": list(models),
            "lenses": ["logit", "raw"],
            "temperatures": [0.5, 1.0, 2.0],
            "claims": "claims.toml",
            "sets": [{"name": "places.csv"}, {"name": "plain.csv"}],
            "questions": [
                {"id": "own", "prompt": "The capital of Germany is", "answers": [" Berlin"]},
                {"id": "probe", "role": "probe", "prompt": "The capital of"},
            ],
        },
        "test",
        folder,
    )
    return shown_run(record(study, tmp_path_factory.mktemp("runs") / "run", load=models.__getitem__))


@pytest.fixture(scope="module")
def report(run, tmp_path_factory):
    return write_report(run, tmp_path_factory.mktemp("report"))


READER = MarkdownIt("commonmark", {"html": True}).enable("table")


def seen(inline):
    """Return the text of a line or a cell as a reader sees it."""
    return "".join(part.content for part in inline.children if part.type in ("text", "code_inline"))


def tables(text):
    """Return the tables of a Markdown text: each a list of rows by column, as a reader sees them."""
    for lines in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        widths = [len(re.findall(r"(?<!\\)\|", line)) for line in lines.splitlines()]
        assert set(widths) == {widths[0]}, "as many cells as the head"
    found, rows = [], []
    for token in READER.parse(text):
        if token.type == "table_open":
            rows = []
        elif token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and token.level > 3:
            rows[-1].append(seen(token))
        elif token.type == "table_close":
            found.append([dict(zip(rows[0], row, strict=True)) for row in rows[1:]])
    return found


def table(text, column):
    """Return the first table with a column."""
    return next(rows for rows in tables(text) if rows and column in rows[0])


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_writing_the_report_again_gives_the_same_bytes(run, report, tmp_path):
    again = write_report(run, tmp_path)
    first, second = files_of(report.parent), files_of(again.parent)
    assert {"report.md", "report.html", "questions/places.md", "questions/plain.md"} <= set(first)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_every_table_row_has_as_many_cells_as_its_head(report):
    pages = [report, *report.parent.glob("questions/*.md"), report.parent / "own-questions" / "report.md"]
    assert all(tables(page.read_text()) for page in pages)


def test_every_figure_and_page_that_the_report_links_to_is_there(report):
    text = report.read_text()
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert {"questions/places.md", "questions/plain.md", "figures/known.png", "own-questions/report.md"} <= set(links)
    assert all((report.parent / link).is_file() for link in links)


def test_the_test_run_has_known_answers(run):
    assert sum(len(cases.known) for cases in cases_of(run)) > 20


def test_the_main_table_is_that_of_the_stored_run(run, report):
    rows = {(row["model"], row["set, direction"]): row for row in table(report.read_text(), "items known")}
    found = {
        (cell.model, f"{cell.set} {cell.direction}".strip()): cell
        for cases in cases_of(run)
        if cases.lens == "logit"
        for cell in set_summary.cells(cases, by_wording=False)
    }
    assert len(rows) == 6
    for key, cell in found.items():
        row = rows[key]
        assert row["known"] == percent(cell.known)
        assert row["settled"] == depth(cell.depths["settled_top1"])
        assert row["half entropy"] == depth(cell.depths["half_entropy"])
        assert row["p(whole answer) at the output, all questions"] == interval(cell.answer_prob)
        assert (int(row["items"]), int(row["items known"])) == (cell.items, cell.known_items)


def test_shares_can_be_counted_from_the_questions_of_the_run(run, report):
    """Not from any code of the report: from the stored table."""
    asked = run.questions().query("lens == 'logit' and set == 'places' and direction == 'there'")
    for row in table(report.read_text(), "items known"):
        if "places" in row["set, direction"] and row["set, direction"].endswith("there"):
            mine = asked[asked["model"] == row["model"]]
            assert row["known"].split("\u00a0")[0] == f"{100 * mine['known'].mean():.0f}"
            known = mine[mine["known"]]
            assert int(row["items known"]) == known["item"].nunique()
            depths = known.groupby("item")["settled_top1"].median() / 4
            assert row["settled"].split("\u00a0")[0] == (f"{depths.median():.2f}" if len(depths) else "–")


def test_claims_stand_with_their_estimates_and_what_is_missing(run, report):
    rows = table(report.read_text(), "verdict")
    claims = [Claim.model_validate(each) for each in run.manifest["claims"]]
    by_model = {
        model: {cases.lens: cases for cases in cases_of(run) if cases.model == model} for model in run.study["models"]
    }
    assert len(rows) == 8
    expected = [judge(claim, by_model[model]) for claim in claims for model in by_model]
    for row, judged in zip(rows, expected, strict=True):
        never = judged.in_depths and judged.estimate and judged.estimate.high > 1
        told = depth(judged.estimate) if never else interval(judged.estimate)
        assert (row["model"], row["found"]) == (judged.model, told)
        assert not never or "never" in judged.plain
        assert row["verdict"].startswith(judged.verdict)
        assert row["verdict"].endswith(judged.missing or judged.verdict)
        assert row["items"] == (str(judged.estimate.n) if judged.estimate else "")
    assert rows[0]["verdict"] == "supported"
    assert "items, and at least 1000 are needed" in rows[2]["verdict"]
    assert rows[2]["claimed"] == "0.80 .. 0.85 ± 1 layer"
    assert rows[6]["verdict"].startswith("cannot be judged")
    assert rows[6]["verdict"].endswith("at least 500 are needed")


def test_comparisons_and_gaps_are_those_of_the_stored_run(run, report):
    text = report.read_text()
    logit = [cases for cases in cases_of(run) if cases.lens == "logit"]
    rows = [row for each in tables(text) for row in each if "first − second" in row]
    found = set_summary.comparisons(logit)
    assert {each.what for each in found} >= {"directions", "wordings"}
    said = {
        (
            row["set"],
            row.get("model", ""),
            *(row[name] for name in ("first", "second", "items", "first − second", "r", "p")),
        )
        for row in rows
    }
    assert said == {
        (
            each.set, each.model, each.first, each.second, str(each.test.n), interval(each.test.median_difference),
            f"{each.test.rank_biserial:+.2f}", f"{each.adjusted_p:.2g}",
        )
        for each in found
    }  # fmt: skip
    assert f"all {len(found)} tests" in text
    by_model = {cases.model: cases for cases in logit}
    gaps = [gap for cases in cases_of(run) for gap in set_summary.calibration_gaps(cases, by_model[cases.model])]
    assert {(row["set"], row["lens"], row["model"], row["gap"]) for row in table(text, "gap")} == {
        (gap.set, gap.lens, gap.model, interval(gap.gap)) for gap in gaps
    }


def test_wrong_answers_are_those_of_the_stored_run(run, report):
    rows = {(row["model"], row["set"]): row for row in table(report.read_text(), "wrong answer leads")}
    found = [each for cases in cases_of(run) if cases.lens == "logit" for each in set_summary.wrong_answers(cases)]
    assert len(rows) == len(found) == 4
    for each in found:
        row = rows[each.model, each.set]
        assert row["right answer leads at the output"] == percent(each.right_leads)
        assert row["wrong answer leads"] == percent(each.wrong_leads)
        assert row["p(wrong answer, up to its deciding token)"] == interval(each.wrong_prob)


def test_the_checks_are_those_of_the_stored_run(run, report):
    questions = run.questions()
    for row in table(report.read_text(), "prompts compared"):
        mine = questions[questions["model"] == row["model"]]
        assert row["largest difference in log-probability"] == f"{mine['identity_error'].max():.1e}"
        assert int(row["prompts compared"]) == mine["covered_by"].nunique()


def test_a_page_lists_every_question_of_its_set(run, report):
    rows = table((report.parent / "questions" / "places.md").read_text(), "prompt")
    stored = run.questions().query("lens == 'logit' and set == 'places'")
    assert len(rows) == len(stored) == 60
    by_key = {(row["question"], row["model"]): row for row in stored.to_dict("records")}
    for row in rows:
        asked = by_key["places/" + row["question"], row["model"]]
        assert row["prompt"] == asked["prompt"]
        assert row["known"] == ("yes" if asked["known"] else "")
        expected = asked["settled_top1"]
        assert row["settled top-1"] == ("never" if np.isnan(expected) else str(int(expected)))


def test_a_page_shows_what_leads_where_the_answer_is_not_known(run, report):
    rows = table((report.parent / "questions" / "places.md").read_text(), "leads at the output")
    stored = run.questions().query("lens == 'logit' and set == 'places'")
    by_key = {(row["question"], row["model"]): row for row in stored.to_dict("records")}
    for row in rows:
        asked = by_key["places/" + row["question"], row["model"]]
        leader = visible(asked["output"][0]["text"])
        assert row["leads at the output"] == ("" if asked["known"] else leader)


def test_a_page_shows_all_accepted_forms_and_the_token_that_decides():
    tokens = [{"id": 1, "text": " "}, {"id": 2, "text": "4"}]
    row = {"answers": [{"text": f" {n}", "tokens": tokens, "deciding_index": 1} for n in range(4, 10)]}
    assert study_report._forms(row) == {
        "forms": " or ".join(f"`␣{n}`" for n in range(4, 8)) + " … (2 more)",
        "decided_by": "`4` after `␣`",
    }
    single = {"answers": [{"text": " Rome", "tokens": [{"id": 1, "text": " Rome"}], "deciding_index": 0}]}
    assert study_report._forms(single) == {"forms": "`␣Rome`", "decided_by": ""}


def test_each_wording_says_what_leads_instead_of_the_answer(run, report):
    """Counted from the stored table, not by any code of the report."""
    stored = run.questions().query("lens == 'logit' and set != '' and known == False")
    seen = 0
    for row in table(report.read_text(), "leads instead"):
        mine = stored[(stored["model"] == row["model"]) & (stored["set"] == row["set"])]
        mine = mine[(mine["direction"] == row["direction"]) & (mine["wording"] == row["wording"])]
        others = [
            visible(output[0]["text"])
            for output, answers in zip(mine["output"], mine["answers"], strict=True)
            if output[0]["id"] not in {each["tokens"][0]["id"] for each in answers}
        ]
        if row["leads instead"]:
            token, _, counts = row["leads instead"].rpartition(" in ")
            assert counts == f"{others.count(token)} of {len(mine)}"
            assert others.count(token) == max(map(others.count, others))
            seen += 1
        else:
            assert not others
    assert seen


def test_claims_stand_with_their_null_and_what_is_estimated(run, report):
    rows = table(report.read_text(), "if it said nothing")
    assert [row["claim"] for row in rows] == [claim["sentence"] for claim in run.manifest["claims"]]
    assert [row["if it said nothing"] for row in rows] == ["No."] * 4
    assert rows[0]["over items; unit"] == "median over items; bits"
    assert rows[0]["per item"].startswith("Median over layers of KL")


def test_a_claim_about_an_inner_layer_names_the_layers(run):
    claims = [{**run.manifest["claims"][2], "estimator": "inner_minus_final", "over": "all", "least_items": 2}]
    overview = Overview(type(run)(run.path, run.manifest | {"claims": claims}))
    text = study_report._report(overview, {}, study_report._page_paths(overview.sets), [])
    for row in table(text, "verdict"):
        assert re.fullmatch(
            r"inner_minus_final, all questions; inner layers? [1-3](, [1-3])*", row["what is estimated"]
        )


def cell(name, share, wording=None, model="m"):
    known = Estimate(share, max(0, share - 0.1), min(1, share + 0.1), 27, 0.95, 0)
    return set_summary.Cell(model, name, "d", wording, 27, known, None, {"settled_top1": None}, 1 - share)


def test_a_single_set_is_not_said_to_be_known_best_of_several():
    assert "knows the answers about `a` `d` (56" in _about_known([cell("a", 0.56)])
    assert "knows most about `b`" in _about_known([cell("a", 0.1), cell("b", 0.5)])
    assert "as much about each of the 2" in _about_known([cell("a", 0.5), cell("b", 0.5)])


def test_best_and_worst_wording_are_named_where_they_are_far_apart():
    cells = [cell("a", 0.56, "record"), cell("a", 0.0, "question"), cell("b", 0.5, "x"), cell("b", 0.45, "y")]
    told: Any = SimpleNamespace(by_wording=cells, spreads=spreads(cells))
    [sentence] = _about_wordings(told, "m")
    plain = seen(READER.parseInline(sentence)[0]).replace("\u00a0", " ")
    assert plain == (
        "knows far more in one wording than in another, in 1 of 2 combinations of set and direction with several "
        "wordings (intervals of the best and the worst do not overlap): in a d (56 % [46, 66] in record, "
        "0 % [0, 10] in question)."
    )
    assert _about_wordings(told, "other") == []


def test_a_token_that_leads_in_most_unknown_questions_is_told():
    found = {
        ("m", "a", "d", wording): Instead("m", "a", "d", wording, "\n", count, unknown)
        for wording, count, unknown in (("x", 20, 27), ("y", 13, 27), ("z", 5, 5))
    }
    told: Any = SimpleNamespace(leading_instead=found)
    [sentence] = _about_other_leaders(told, "m")
    plain = seen(READER.parseInline(sentence)[0])
    assert plain == "says mostly one and the same other token where it does not know the answer: ↵ in 20 of 27 (a d x)."


def test_the_axis_of_gaps_holds_zero_and_shows_it():
    below = [Estimate(-0.5, -0.71, -0.41, 9, 0.95, 0)]
    assert study_figures._around_zero(below) == (-0.8, 0.2)
    assert study_figures._around_zero([]) == (-0.2, 0.2)
    [chart] = study_figures._intervals(
        "g", [("s", "m", below[0])], y="set", x_title="x", title="t", x_domain=(-0.8, 0.1), zero_line=True
    ).values()
    spec = chart.to_dict()
    assert [layer["mark"]["type"] for layer in spec["layer"]] == ["rule", "point", "rule"]
    assert spec["layer"][0]["encoding"]["x"]["scale"]["domain"] == [-0.8, 0.1]


@pytest.mark.parametrize(("panels", "width"), [(1, 640), (2, 320), (4, 200)])
def test_few_panels_take_the_room_of_many(panels, width):
    point = {"model": "m", "depth": 0.5, "value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
    frame = pd.DataFrame([point | {"set": f"s{at}"} for at in range(panels)])
    assert study_figures._by_depth(frame).to_dict()["spec"]["width"] == width


def test_nouns_have_their_number():
    assert [counted(number, "test") for number in (0, 1, 1200)] == ["0 tests", "1 test", "1,200 tests"]


def test_questions_of_the_studys_own_have_a_report_of_their_own(run, report):
    own = (report.parent / "own-questions" / "report.md").read_text()
    assert "The capital of Germany is" in own
    assert "Two and" not in own
    assert list((report.parent / "own-questions" / "figures").glob("*.png"))
    text = report.read_text()
    assert text.count("`The capital of Germany is`: ") == 2, "a sentence per model"
    page = report.with_suffix(".html").read_text()
    assert 'href="#page-own-questions-report"' in page
    assert 'id="page-own-questions-report"' in page
    assert "data:image/png;base64," in page


def test_the_page_is_whole_by_itself(report):
    page = report.with_suffix(".html").read_text()
    text, _, script = page.partition('<script type="module">')
    assert page.count('<script type="module">') == page.count("<script") == page.count("</script") == 1
    assert script
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', text)
    assert text.count("<figure>") == len(list((report.parent / "figures").glob("*.png")))
    for anchor in re.findall(r'href="#([^"]+)"', text):
        assert f'id="{anchor}"' in text


def test_the_page_says_what_the_markdown_says(report):
    page = report.with_suffix(".html").read_text()
    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(report.read_text())
    for row in re.findall(r"<td[^>]*>(.*?)</td>", rendered):
        assert row in page or "<a " in row


def test_pages_too_large_for_one_file_stay_beside_it(run, tmp_path, monkeypatch):
    monkeypatch.setattr(study_report, "_MOST_IN_ONE_FILE", 100)
    report = write_report(run, tmp_path)
    page = report.with_suffix(".html").read_text()
    assert 'href="questions/places.md"' in page
    assert "section class" not in page


HOSTILE = (
    "<script>alert(1)</script> </SCRIPT> <!--<script> | `x` **b** [a](javascript:b) ![i](http://h/i.png) {{ 7*7 }} "
    "\x1b[31m \u202e <img src=x onerror=alert(2)>"
)
PROMPT = "<img src=x onerror=alert(1)></script> | `x` [a](javascript:b) {{7*7}} \x1b[3m \u202e"
"""Shorter: the toy models read 128 tokens, and here each character is one."""


def hostile_run(load_family, folder):
    """Return a run in which everything that others write is hostile, and the model's name too."""
    model = load_family("qwen3")
    name = "a/" + HOSTILE
    with (folder / "h`|](x) <b>.csv").open("w", newline="") as file:
        head = ["item", "prompt", "answer", "alternatives", "direction", "wording", "group"]
        rows = [
            [f"{n} {HOSTILE}", f"{PROMPT} {n} is", "<b>*x*</b>", "<b>wrong</b>", HOSTILE, HOSTILE, HOSTILE]
            for n in range(3)
        ]
        csv.writer(file).writerows([head, *rows])
    claim = {
        "id": "c",
        "sentence": HOSTILE + "\n# head",
        "estimator": "settled_depth",
        "region": "> 0",
        "null": HOSTILE,
    }
    missing = claim | {"id": "d", "directions": [HOSTILE]}
    lines = [
        f"{key} = {json.dumps(value)}"
        for each in (claim, missing)
        for key, value in [("[[claims]]", None), *each.items()]
    ]
    (folder / "claims.toml").write_text("\n".join(line.removesuffix(" = null") for line in lines))
    study = plan_study(
        {
            "name": "hostile",
            "title": HOSTILE + "\nsecond line",
            "description": "<script>alert(3)</script>",
            "models": [name],
            "lenses": ["logit", "raw"],
            "temperatures": [0.5, 1.0],
            "claims": "claims.toml",
            "sets": [{"name": "h`|](x) <b>.csv"}],
            "questions": [{"id": "own", "prompt": PROMPT, "answers": [" <b>*x*</b>"]}],
        },
        "test",
        folder,
    )

    class Renamed:
        """The toy model under a hostile name."""

        info = replace(model.info, name=name)

        def __getattr__(self, asked):
            return getattr(model, asked)

        def identified(self):
            return self.info

        def trace_all(self, *args, **kwargs):
            traces = model.trace_all(*args, **kwargs)
            return [[replace(trace, model=self.info) for trace in by_lens] for by_lens in traces]

    renamed: Any = Renamed()
    return record(study, folder / "run", load=lambda asked: renamed)


@pytest.fixture(scope="module")
def hostile(load_family, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    return write_report(hostile_run(load_family, folder), folder / "report")


def test_hostile_text_stays_text_in_markdown(hostile):
    pages = [hostile, *hostile.parent.glob("questions/*.md"), hostile.parent / "own-questions" / "report.md"]
    assert len(pages) == 3
    for page in pages:
        text = page.read_text()
        assert "alert(1)" in html.unescape(text), "it is shown"
        assert not re.findall(r"<(?=[A-Za-z/!?])(?!/?(?:code|details|summary)\b)", text), "no other tag"
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", text)
        assert "49" not in table(text, "model")[0].values()
        tables(text)  # as many cells as the head
    lines = hostile.read_text().splitlines()
    assert [line for line in lines if line.startswith("# ")] == lines[:1]


def pages_of(report):
    """Return every page of a report of sets and questions of the study's own, parsed."""
    files = [report, *report.parent.glob("questions/*.md"), report.parent / "own-questions" / "report.md"]
    return {file.relative_to(report.parent).as_posix(): READER.parse(file.read_text()) for file in files}


def test_hostile_text_is_read_as_it_was_written(hostile):
    read = {name: [seen(token) for token in page if token.type == "inline"] for name, page in pages_of(hostile).items()}
    main, questions, own = read["report.md"], read["questions/h-x-b.md"], read["own-questions/report.md"]
    assert main[0] == one_line(HOSTILE + "\nsecond line", 2000)
    assert main.count(one_line(HOSTILE + "\n# head", 2000)) == 4, "two claims, each with its verdict and its estimator"
    assert main.count(one_line(HOSTILE, 2000)) >= 3, "what the claims' null says, and a direction"
    assert [one_line(f"{PROMPT} {n} is", 2000) in questions for n in range(3)] == [True] * 3
    assert questions.count(visible(" <b>*x*</b>")) == 3
    assert one_line(PROMPT, 2000) in own


def test_no_element_is_there_but_those_that_the_report_makes(hostile):
    html_of_reports = r"</?code>|<details( open)?><summary>[\w ,]+</summary>\s*|</details>\s*"
    for page in pages_of(hostile).values():
        inline = [(token.level, part) for token in page if token.type == "inline" for part in token.children or []]
        markup = [token.content for token in (*page, *(part for _, part in inline)) if token.type.startswith("html")]
        assert [each for each in markup if not re.fullmatch(html_of_reports, each)] == []
        links = {part.attrs["href"] for _, part in inline if part.type == "link_open"}
        assert links <= {"questions/h-x-b.md", "own-questions/report.md"}
        assert all(str(part.attrs["src"]).startswith("figures/") for _, part in inline if part.type == "image")
        assert {part.type for level, part in inline if level > 3} <= {
            *("text", "code_inline", "html_inline", "link_open", "link_close", "strong_open", "strong_close")
        }
        kinds = {token.type for token in page}
        assert not kinds & {"fence", "code_block", "hr", "ordered_list_open"}
        assert sum(token.type == "heading_open" and token.tag == "h1" for token in page) == 1


def test_hostile_text_stays_text_in_html(hostile):
    page = hostile.with_suffix(".html").read_text()
    text, _, script = page.partition('<script type="module">')
    assert "<script" not in text.lower()
    assert script.lower().count("</script") == 1
    assert "<!--" not in script, "after which <script> would swallow the end of this one"
    assert not re.search(r"<img (?!src=\"data:)", text)
    assert not re.search(r"<[^>]*\bonerror", text)
    assert not re.search(r"<(?:b|strong)>(?:b|wrong)<", text)
    assert 'href="javascript' not in text
    assert "http://h" not in re.sub(r"<code>.*?</code>|<h1>.*?</h1>|<title>.*?</title>|<td>.*?</td>", "", text)
    assert "\u202e" not in page
    assert "\x1b" not in page


def test_a_set_whose_name_is_no_file_name_has_its_page(hostile):
    [page] = hostile.parent.glob("questions/*.md")
    assert page.name == "h-x-b.md"
    assert "(questions/h-x-b.md)" in hostile.read_text()


def test_pages_of_sets_whose_names_are_alike_are_told_apart():
    assert study_report._page_paths(["a b", "a-b", "A b", "ü", "é"]) == {
        "a b": "questions/a-b.md",
        "a-b": "questions/a-b-1.md",
        "A b": "questions/A-b-2.md",
        "ü": "questions/set.md",
        "é": "questions/set-1.md",
    }


def small(folder, models, **changes):
    """Return a planned study of eight questions, to which no model knows an answer."""
    (folder / "small.csv").write_text(
        "item,prompt,answer,alternatives\n"
        + "".join(f"i{n},{place} and the king of {place} is,daughter,castle\n" for n, place in enumerate(PLACES[:8]))
    )
    plain = {"name": "toy", "title": "Toy", "models": models, "sets": [{"name": "small.csv"}]}
    return plan_study(plain | changes, "test", folder)


def test_a_model_that_knows_nothing_has_a_report(load_family, tmp_path):
    model = load_family("qwen3")
    run = record(small(tmp_path, [model.info.name]), tmp_path / "run", load=lambda name: model)
    assert not any(run.questions()["known"]), "by chance it may know one; then this needs another question"
    assert [sentence for _, sentence in statements(Overview(run))] == ["knows the answer to none of the 8 questions."]
    report = write_report(run, tmp_path / "report")
    [row] = table(report.read_text(), "items known")
    assert (row["known"], row["settled"]) == ("0\u00a0%\u00a0[0,\u00a032]", "–")
    assert "Calibration" not in report.read_text()
    assert "<figure>" in report.with_suffix(".html").read_text()


def test_a_run_with_a_failed_model_says_so_and_shows_the_other(load_family, tmp_path):
    model = load_family("qwen3")

    def load(name):
        if name == "broken":
            raise ModelError("its <b>file</b> | is gone")
        return model

    run = record(small(tmp_path, [model.info.name, "broken"]), tmp_path / "run", load=load)
    text = write_report(run, tmp_path / "report").read_text()
    [note] = [line for line in text.splitlines() if line.startswith("> **Incomplete.**")]
    assert "`broken`" in note
    assert "its <b>file</b> | is gone" in html.unescape(note)
    assert "<b>" not in note
    assert {row["model"] for row in table(text, "items known")} == {shown_name(model.info.name)}


def test_an_interrupted_run_says_so(load_family, tmp_path):
    model = load_family("qwen3")
    run = record(small(tmp_path, [model.info.name]), tmp_path / "run", load=lambda name: model)
    run = type(run)(run.path, run.manifest | {"status": "incomplete"})
    assert "This run was interrupted" in write_report(run, tmp_path / "report").read_text()


def test_refused_questions_are_listed_with_their_reason(load_family, tmp_path):
    model = load_family("qwen3")
    (tmp_path / "refused.csv").write_text(
        "prompt,answer,alternatives\nThe capital of,Berlin,Berlin Paris\nThe king of,Paris,\n"
    )
    run = record(
        small(tmp_path, [model.info.name], sets=[{"name": "refused.csv"}]), tmp_path / "run", load=lambda name: model
    )
    text = write_report(run, tmp_path / "report").read_text()
    assert "One question could not be asked" in text
    [row] = table(text, "why")
    assert row["question"] == "refused/row-2"
    assert row["why"] in run.questions()["refused"].tolist()


def test_a_model_that_no_question_could_be_put_to_is_no_gap_in_the_report(load_family, tmp_path):
    model = load_family("qwen3")
    (tmp_path / "refused.csv").write_text("prompt,answer,alternatives\nThe capital of,Berlin,Berlin Paris\n")
    run = record(
        small(tmp_path, [model.info.name], sets=[{"name": "refused.csv"}]), tmp_path / "run", load=lambda name: model
    )
    text = write_report(run, tmp_path / "report").read_text()
    assert "No model has answered a question of a set." in text
    assert "nan" not in text.replace("refused", "")
    tables(text)


def test_a_study_of_the_raw_lens_alone_is_told_from_it_and_says_so(load_family, tmp_path):
    model = load_family("qwen3")
    (tmp_path / "claims.toml").write_text(CLAIMS.replace('sets = ["places"]', ""))
    planned = small(tmp_path, [model.info.name], lenses=["raw"], claims="claims.toml")
    text = write_report(record(planned, tmp_path / "run", load=lambda name: model), tmp_path / "report").read_text()
    assert "read through the raw lens" in text
    assert "Not measured: it compares inner layers with the model's output" in text
    assert len(table(text, "items known")) == 1
    assert "the run has no logit lens" in text


def test_random_weights_stand_among_the_controls(load_family, family_folder, tmp_path):
    model = load_family("qwen3")
    control = f"random:{family_folder('qwen3')}"
    loaded = {model.info.name: model, control: lw.load(control, device="cpu")}
    run = record(small(tmp_path, list(loaded)), tmp_path / "run", load=loaded.__getitem__)
    text = write_report(run, tmp_path / "report").read_text()
    main, random = (rows for rows in tables(text) if rows and "set, direction" in rows[0])
    assert {row["model"] for row in main} == {shown_name(model.info.name)}
    assert {row["model"] for row in random} == {shown_name(control)}
    assert [model for model, _ in statements(Overview(run))] == [model.info.name]
    alone = record(small(tmp_path, [control]), tmp_path / "alone", load=loaded.__getitem__)
    rows = table(write_report(alone, tmp_path / "r").read_text(), "items known")
    assert {row["model"] for row in rows} == {shown_name(control)}


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((0.8251, 0.7, 0.9), "0.825 [0.700, 0.900]"),
        ((-0.0001, -0.00001, 0.0), "0.000 [0.000, 0.000]"),
        ((12.34, 9.9, 13), "12.3 [9.9, 13.0]"),
        ((4054.3, 3168, 4157.6), "4,054 [3,168, 4,158]"),
    ],
)
def test_larger_numbers_have_fewer_decimals_and_no_line_ends_inside(numbers, expected):
    value, low, high = numbers
    assert interval(Estimate(value, low, high, 9, 0.95, 0)) == expected.replace(" ", "\u00a0")
    assert interval(None) == "–"


def test_a_depth_beyond_the_last_layer_is_never():
    assert depth(Estimate(0.97, 0.581, 1.03, 9, 0.95, 0)) == "0.97 [0.58, never]".replace(" ", "\u00a0")
    assert depth(Estimate(1.03, 1.01, 1.03, 9, 0.95, 0)) == "never"
    assert depth(Estimate(1.0, 1.0, 1.0, 9, 0.95, 0)) == "1.00 [1.00, 1.00]".replace(" ", "\u00a0")


def test_fitted_lenses_are_one_more_column_and_compared_by_item(models, tmp_path):
    """A lens that is the identity settles everything where the logit lens does; another does not."""
    name, model = next(iter(models.items()))
    save_lens(tmp_path / "same", card_for(model), random_translators(model.n_layers, model.info.d_model, scale=0))
    save_lens(tmp_path / "other", card_for(model), random_translators(model.n_layers, model.info.d_model, scale=1))
    rows = []
    for place in PLACES:
        if word := own_words(model, f"{place} and"):
            rows.append([place, f"{place} and", word])
    assert len(rows) > 2
    with (tmp_path / "places.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["item", "prompt", "answer"], *rows])
    study = plan_study(
        {
            "name": "toy",
            "title": "Toy",
            "models": [name],
            "lenses": ["logit", "ridge:same", "ridge:other"],
            "sets": [{"name": "places.csv"}],
        },
        "test",
        tmp_path,
    )
    run = shown_run(record(study, tmp_path / "run", load=models.__getitem__))
    text = write_report(run, tmp_path / "report").read_text()
    [cells] = [table for table in tables(text) if "settled, ridge:same" in table[0]]
    assert all(row["settled, ridge:same"] == row["settled"] != "–" for row in cells)
    assert text.count("it is fitted to come close to the output") == 2
    overview = Overview(run)
    between = {each.second: each.test for each in overview.comparisons if each.what == "lenses"}
    assert between.keys() == {"ridge:same", "ridge:other"}
    assert between["ridge:same"].median_difference.value == 0
    [cases] = overview.main
    [other] = [each for each in overview.fitted if each.lens == "ridge:other"]
    differences = cases.known.depth_per_item("settled_top1").values - other.known.depth_per_item("settled_top1").values
    assert between["ridge:other"].median_difference.value == pytest.approx(np.median(differences))
    assert np.median(differences) != 0
    assert "### Between lenses" in text
