"""Reports are made from the stored numbers, and from nothing else."""

import re

import pytest

import layerwise as lw
from layerwise.analysis.overview import Overview
from layerwise.errors import StoreError
from layerwise.execution.recording import record
from layerwise.report.escaping import code_span
from layerwise.report.folder import slug
from layerwise.report.limits import limits
from layerwise.report.markdown import write_report
from layerwise.report.prompt_findings import findings, sentence
from layerwise.report.rendering import layer_of
from layerwise.studies.study import plan_study
from layerwise.text import probability, visible
from tests.lenses import saved_lens

HOSTILE = "The <script>alert(1)</script> | `x` [a](javascript:b) \u202e capital of\nGermany is"


@pytest.fixture(scope="module")
def run(load_family, tmp_path_factory):
    """A run of two toy models on a plain and a hostile prompt."""
    folder = {name: load_family(name).info.name for name in ("qwen3", "gemma2")}
    study = plan_study(
        {
            "name": "toy",
            "title": "Toy",
            "models": list(folder.values()),
            "lenses": ["logit", "raw"],
            "temperatures": [0.5],
            "questions": [
                {"id": "plain", "prompt": "The capital of Germany is", "answers": [" Berlin"], "track": [" capital"]},
                {"id": "hostile", "prompt": HOSTILE},
                {"id": "probe", "role": "probe", "prompt": "The capital of", "answers": [" Germany"]},
            ],
        },
        "test",
    )
    by_name = {info: name for name, info in folder.items()}
    return record(study, tmp_path_factory.mktemp("runs") / "run", load=lambda name: load_family(by_name[name]))


@pytest.fixture(scope="module")
def report(run, tmp_path_factory):
    return write_report(run, tmp_path_factory.mktemp("report"))


def test_every_figure_that_the_report_shows_is_there_as_png_and_svg(report):
    shown = re.findall(r"\]\((figures/[^)]+\.png)\)", report.read_text())
    assert len(shown) >= 9
    for name in shown:
        png = report.parent / name
        assert png.read_bytes()[:4] == b"\x89PNG"
        assert "<svg" in png.with_suffix(".svg").read_text()[:200]


def test_writing_the_report_again_gives_the_same_bytes(run, report, tmp_path):
    again = write_report(run, tmp_path)
    assert again.read_bytes() == report.read_bytes()
    for file in (report.parent / "figures").iterdir():
        assert (tmp_path / "figures" / file.name).read_bytes() == file.read_bytes()


def test_a_hostile_prompt_stays_text(report):
    text = report.read_text()
    assert "<script" not in text
    assert "javascript:b" not in text
    assert "\u202e" not in text
    for line in text.splitlines():
        if line.startswith("|") and "capital of" in line:
            assert "Germany is" not in line or "↵Germany is" in line or "The capital of Germany is" in line


def test_every_table_row_has_as_many_cells_as_its_head(report):
    width = None
    for line in report.read_text().splitlines():
        if not line.startswith("|"):
            width = None
            continue
        cells = len(re.findall(r"(?<!\\)\|", line))
        width = width or cells
        assert cells == width, line


def test_the_numbers_in_the_report_are_the_stored_ones(run, report):
    case = Overview(run).own.case(run.study["models"][0], "plain")
    last = case.layers.iloc[-1]
    text = report.read_text()
    assert f"| {probability(last['answer_prob'])} | {int(last['answer_rank']):,} |" in text
    cases = [Overview(run).own.case(run.study["models"][0], question["id"]) for question in run.study["questions"]]
    assert f"{max(each.row['identity_error'] for each in cases):.1e}" in text


def _case(run, ranks, leaders, probs):
    """Return a stored case with its curves replaced."""
    case = Overview(run).own.case(run.study["models"][0], "plain")
    n = case.n_layers
    assert len(ranks) == n + 1
    layers = case.layers.copy()
    layers["answer_rank"], layers["answer_prob"] = ranks, probs
    layers["top"] = [[{"id": i, "text": f" t{i}", "prob": 0.5, "logprob": -0.7}] for i in leaders]
    ones = [k for k in range(n + 1) if ranks[k] == 1]
    breaks = [k for k in range(n + 1) if ranks[k] != 1]
    settled = (breaks[-1] + 1 if breaks else 0) if ranks[-1] == 1 else None
    row = case.row | {"settled_top1": settled, "first_top1": ones[0] if ones else None}
    return type(case)(row, layers)


def test_a_sentence_names_the_detour_the_settling_and_the_peak(run):
    case = _case(run, [9, 5, 5, 1, 1], [3, 7, 7, 2, 2], [0, 0, 0.1, 0.6, 0.4])
    assert sentence(case, visible) == (
        "␣t7 leads at layers 1–2, ␣Berlin settles at 3 of 4; p peaks at layer 3 with 0.600, and the output has 0.400."
    )


def test_a_sentence_about_an_answer_that_never_leads_says_what_does(run):
    case = _case(run, [9, 5, 5, 4, 3], [3, 7, 7, 7, 7], [0, 0, 0, 0, 0.2])
    said = sentence(case, visible)
    assert said.startswith("␣Berlin never leads; the output is ")
    assert said.endswith("and ␣Berlin ends at rank 3 (0.200).")


def test_a_sentence_about_a_lead_that_was_lost_says_so(run):
    case = _case(run, [9, 5, 1, 4, 3], [3, 7, 2, 7, 7], [0, 0, 0.5, 0, 0.2])
    assert "leads first at layer 2, but not at the end" in sentence(case, visible)


def test_findings_cover_each_model_and_main_question(run):
    said = findings(Overview(run).own)
    assert len(said) == 2 * 2
    assert all("\n" not in finding.plain for finding in said)


def test_a_run_without_results_has_no_report(run, tmp_path):
    empty = type(run)(run.path, run.manifest | {"models": {}, "shards": []})
    with pytest.raises(StoreError, match="no results yet"):
        write_report(empty, tmp_path)


def test_a_question_that_no_shard_has_is_named(run):
    questions = [run.study["questions"][0] | {"id": "renamed"}, *run.study["questions"][1:]]
    changed = type(run)(run.path, run.manifest | {"study": run.study | {"questions": questions}})
    with pytest.raises(StoreError, match="asks the question 'renamed', but no shard has it"):
        findings(Overview(changed).own)


def test_a_report_that_cannot_be_written_is_an_error(run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="could not be written") as raised:
        write_report(run, tmp_path / "file" / "report")
    assert f"layerwise runs report {run.path} --out" in str(raised.value)


def test_names_of_files_hold_nothing_that_means_something_to_a_file_system():
    assert slug("../../etc/passwd", "a b") == "etc-passwd-a-b"
    assert slug("org/name", "q") == "org-name-q"


def test_questions_whose_names_make_one_file_name_have_figures_of_their_own(load_family, tmp_path):
    """Also where a disk takes upper and lower case for the same."""
    ids = ["france", "france-", "France"]
    name = load_family("qwen3").info.name
    asked = [{"id": each, "prompt": f"The capital of {each} is", "answers": [" Berlin"]} for each in ids]
    study = plan_study({"name": "toy", "title": "Toy", "models": [name], "questions": asked}, "test")
    report = write_report(record(study, tmp_path / "run", load=lambda _: load_family("qwen3")), tmp_path / "report")
    shown = re.findall(r"\]\((figures/[^)]+\.png)\)", report.read_text())
    assert len(shown) == 4 * len(ids)
    assert len({path.casefold() for path in shown}) == len(shown)
    assert all((report.parent / path).is_file() for path in shown)


def _report_of(load_family, folder, questions, **changes):
    model = load_family("qwen3")
    study = plan_study(
        {"name": "toy", "title": "Toy", "models": [model.info.name], "questions": questions} | changes, "test"
    )
    run = record(study, folder / "run", load=lambda name: model)
    return run, write_report(run, folder / "report").read_text()


def test_inner_confidence_is_not_counted_of_controls(load_family, family_folder, tmp_path):
    question = {"id": "q", "prompt": "The capital of Germany is", "answers": [" Berlin"]}
    control = f"random:{family_folder('qwen3')}"
    model = load_family("qwen3")
    loaded = {model.info.name: model, control: lw.load(control, device="cpu")}

    def counted_of(models):
        study = plan_study({"name": "toy", "title": "Toy", "models": models, "questions": [question]}, "test")
        run = record(study, tmp_path / str(len(models)) / str(control in models), load=loaded.__getitem__)
        [said] = [limit for limit in limits(Overview(run).own) if "Inner confidence" in limit]
        return re.findall(r"of (\d+ cases?)( \(controls with random weights left out\))? some", said)

    assert counted_of([*loaded]) == [("1 case", " (controls with random weights left out)")]
    assert counted_of([model.info.name]) == [("1 case", "")]
    assert counted_of([control]) == [("1 case", "")], "where all are controls, they are what the study is about"


def test_an_answer_that_is_decided_later_is_told_as_such(load_family, tmp_path):
    """Its probability is read one token on, so no leader after the prompt is set beside it."""
    question = {
        "id": "q",
        "prompt": "The capital of Germany is",
        "answers": [" Berlin Germany"],
        "alternatives": [" Berlin Paris"],
    }
    run, text = _report_of(load_family, tmp_path, [question])
    assert "␣Germany after ␣Berlin" in findings(Overview(run).own)[0].plain
    assert "`␣Germany` after `␣Berlin`" in text
    assert Overview(run).own.case(run.study["models"][0], "q").answer_ids == set()


def test_a_set_of_answers_is_named_whole(load_family, tmp_path):
    question = {"id": "q", "prompt": "The capital of Germany is", "answers": [" Paris", " Berlin"]}
    run, _ = _report_of(load_family, tmp_path, [question])
    assert "␣Paris or ␣Berlin" in findings(Overview(run).own)[0].plain
    assert len(Overview(run).own.case(run.study["models"][0], "q").answer_ids) == 2


def test_a_study_without_answers_has_a_report(load_family, tmp_path):
    run, text = _report_of(load_family, tmp_path, [{"id": "q", "prompt": "The capital of Germany is"}])
    assert "the output is" in findings(Overview(run).own)[0].plain
    assert "Inner confidence" not in text


def test_names_with_dots_get_figures_of_their_own(load_family, tmp_path):
    questions = [{"id": f"q.{i}", "prompt": "The capital of Germany is"} for i in (1, 2)]
    _, text = _report_of(load_family, tmp_path, questions)
    shown = re.findall(r"\]\((figures/[^)]+)\)", text)
    assert len(set(shown)) == len(shown) == 4
    assert all((tmp_path / "report" / name).is_file() for name in shown)


def test_a_report_of_the_raw_lens_alone_says_so(load_family, tmp_path):
    question = {"id": "q", "prompt": "The capital of Germany is", "answers": [" Berlin"]}
    run, _ = _report_of(load_family, tmp_path, [question], lenses=["raw"])
    assert "(raw lens)" in findings(Overview(run).own)[0].plain


def test_html_in_a_studys_own_words_is_not_markup(load_family, tmp_path):
    question = {"id": "q", "prompt": "The capital of Germany is"}
    _, text = _report_of(load_family, tmp_path, [question], title="<script>x</script>", description="<img src=x>")
    assert "<script" not in text
    assert "<img" not in text


def test_fitted_lenses_stand_beside_the_main_one_with_their_caveat(load_family, tmp_path):
    model = load_family("qwen3")
    saved_lens(tmp_path / "mine", model)
    study = plan_study(
        {
            "name": "toy",
            "title": "Toy",
            "models": [model.info.name],
            "lenses": ["ridge:mine", "logit"],
            "questions": [{"id": "plain", "prompt": "The capital of Germany is", "answers": [" Berlin"]}],
        },
        "test",
        tmp_path,
    )
    run = record(study, tmp_path / "run", load=lambda name: model)
    text = write_report(run, tmp_path / "report").read_text()
    assert "it is fitted to come close to the output" in text
    own = Overview(run).own
    assert ["(ridge:mine lens)" in finding.plain for finding in findings(own)] == [False, True]
    through = {lens: own.case(model.info.name, "plain", lens) for lens in ("logit", "ridge:mine")}
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    milestones = [row for row in rows if len(row) == 10 and row[1] == "`The capital of Germany is`"]
    for row, (lens, case) in zip(milestones, through.items(), strict=True):
        assert row[2] == f"`{lens}`"
        assert row[3] == layer_of(case.milestone("settled_top1"), case.n_layers)
    layers = [row for row in rows if len(row) == 10 and row[0].isdigit()]
    assert len(layers) == model.n_layers + 1
    fitted = through["ridge:mine"].layers
    assert [row[-1] for row in layers] == [f"{rank:,}" for rank in fitted["answer_rank"]]
    assert [row[-2].split(" · ")[0] for row in layers] == [
        f"{code_span(visible(leader.text))} {probability(leader.prob)}" for leader in through["ridge:mine"].leaders
    ]
