"""The dataset view in a real browser: it shows what the document says, and a question's grid is one click away."""

import copy
import re

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from layerwise.view.document import FORMAT, described, packed, unpacked

from .view_pages import document as document_of
from .view_pages import needs_chromium, state_of, tell, wait_for_state, write_as_it_is

pytestmark = needs_chromium

MODELS = {"small": 12, "large": 24}
DIRECTIONS = ("there", "back")
WORDINGS = ("statement", "question")
MILESTONES = ("settled_top1", "first_top1", "first_p50", "first_p95", "settled_kl_1bit", "copy", "half_entropy")
HOSTILE = "</script><img src=x onerror=\"document.title='ran'\">\u202e\0\n"


def estimate(value, n=10):
    return {"value": value, "low": max(0, value - 0.1), "high": value + 0.1, "n": n}


def asked(items):
    """Return a row per question of one model: two sets, the first in two directions, each in two wordings."""
    rows = []
    for set_name, directions in (("capitals", DIRECTIONS), ("plurals", ("one-to-many",))):
        for direction in directions:
            for wording in WORDINGS:
                rows += [
                    {"set": set_name, "item": f"item{i}", "direction": direction, "wording": wording}
                    for i in range(items)
                ]
    return rows


def study_document(items=5, *, text=" Berlin"):
    """Return a made-up study: question i of a model settles at layer i modulo n + 2, where n + 1 is never."""
    columns = {name: [] for name in ("model", "id", "set", "item", "direction", "wording", "prompt", "answer")}
    columns |= {name: [] for name in ("known", "output_prob", *MILESTONES)}
    details = []
    for index, (model, n) in enumerate(MODELS.items()):
        start, rows = len(columns["id"]), asked(items)
        for i, row in enumerate(rows):
            layer = i % (n + 2)
            columns["model"].append(index)
            columns["id"].append("/".join(row.values()))
            columns["prompt"].append(f"The capital of {row['item']} in {row['wording']} {i} is")
            columns["answer"].append(text)
            columns["known"].append(layer <= n)
            columns["output_prob"].append((i + 1) / (len(rows) + 1))
            for name, value in row.items():
                columns[name].append(value)
            for name in MILESTONES:
                columns[name].append(layer if layer <= n and name == "settled_top1" else None)
        details.append(layers_of(model, n, list(range(start, start + len(rows))), text))
    study = {
        "name": "toy",
        "title": "What toys know",
        "description": "Two models, two sets.",
        "lens": "logit",
        "ends_at_output": True,
        "models": list(MODELS),
        "warnings": [],
        "notes": [],
        "claims": claims(),
        "cells": cells(items),
        "curves": [curve(model, n, name) for model, n in MODELS.items() for name in ("answer_prob", "entropy_bits")],
        "questions": columns,
        "details": details,
    }
    return {"format": FORMAT, "title": "What toys know", "traces": [], "study": study}


def layers_of(model, n, rows, text):
    """Return the layers of a model's questions: the answer, token 0, has rank 1 from its layer on."""
    shape = (len(rows), n + 1)
    leads = np.array([[layer >= i % (n + 2) for layer in range(n + 1)] for i in range(len(rows))])
    prob = np.where(leads, 0.6, 0.1).astype(np.float32)
    ids = np.where(leads[..., None], [0, 1, 2], [1, 0, 2]).astype(np.int32)
    tops = np.broadcast_to(np.log([0.6, 0.1, 0.05]), (*shape, 3)).astype(np.float32)
    return {
        "model": {"name": model, "dtype": "float32", "device": "cpu", "n_layers": n},
        "n_layers": n,
        "rows": rows,
        "tokens": [[3, 4] for _ in rows],
        "texts": {"ids": [0, 1, 2, 3, 4], "texts": [text, " the", " a", "The", " capital"]},
        "top_ids": packed(ids),
        "top_logprobs": packed(tops),
        "measures": {"entropy_bits": packed(np.full(shape, 2.5, np.float32))},
        "described": described(("entropy_bits",)),
        "answer": {
            "texts": [[text] for _ in rows],
            "ids": [[0] for _ in rows],
            "deciding": [{"id": 0, "text": text, "index": 0} for _ in rows],
            "prob": packed(prob),
            "rank": packed(np.where(leads, 1, 2).astype(np.int32)),
        },
        "checks": {"identity_error": 1e-6, "identity_limit": 1e-3, "covered_by": "a prompt"},
        "trust": {"level": "good", "sentences": ["The last layer agrees with the model's own output."]},
    }


def claims():
    said = {"id": "late", "sentence": "It settles late.", "because": "as it is", "n": 10, "region": [0.7, 0.9]}
    said |= {"claimed": "0.70 .. 0.90", "estimated": "Depth", "over": "known answers"}
    found = {"small": ("supported", 0.8, 0.75, 0.85), "large": ("not supported", 0.3, 0.2, 0.4)}
    judged = [
        said | {"model": model} | dict(zip(("verdict", "value", "low", "high"), each, strict=True))
        for model, each in found.items()
    ]
    nothing = {"value": None, "low": None, "high": None, "n": None}
    few = {"id": "few", "sentence": "Few settle.", "verdict": "cannot be judged", "because": "3 items are too few"}
    return [*judged, *(said | few | nothing | {"model": model} for model in MODELS)]


def cells(items):
    made = []
    for model in MODELS:
        for set_name, directions in (("capitals", DIRECTIONS), ("plurals", ("one-to-many",))):
            for direction in directions:
                for wording in (None, *WORDINGS):
                    place = {"model": model, "set": set_name, "direction": direction, "wording": wording}
                    share = 0.75 if wording == "statement" else 0.25
                    depths = {"settled_top1": estimate(0.5), "first_top1": None}
                    questions = items * (1 if wording else len(WORDINGS))
                    counts = {"questions": questions, "items": items, "known": estimate(share), "depths": depths}
                    made.append(place | counts)
    return made


def curve(model, n, measure):
    depth = [layer / n for layer in range(n + 1)]
    value = depth if measure == "answer_prob" else [9 - 8 * each for each in depth]
    ends = {
        "low": [0.9 * each for each in value],
        "high": [min(1, each) if measure == "answer_prob" else each + 0.3 for each in value],
    }
    return {"model": model, "set": "capitals", "measure": measure, "n": 5, "depth": depth, "value": value} | ends


@pytest.fixture(scope="module")
def document():
    return study_document()


def part(page, name):
    return page.locator(f'section[aria-label="{name}"]')


def rows_of(page):
    return part(page, "Every question").locator("tbody tr")


def test_claims_come_first_each_with_its_verdict_in_a_word(open_view, document):
    page = open_view(document)
    sections = page.locator(".lw-panel-study section")
    assert sections.first.get_attribute("aria-label") == "Claims"
    said = [" ".join(text.split()) for text in page.locator(".lw-study-verdict").all_inner_texts()]
    assert said == [
        "✓ supported small 0.80 [0.75, 0.85] 10 items",
        "✕ not supported large 0.30 [0.20, 0.40] 10 items",
        "? cannot be judged small 3 items are too few",
        "? cannot be judged large 3 items are too few",
    ]


def test_every_model_says_how_far_it_was_checked(open_view, document):
    page = open_view(document)
    models = page.get_by_role("list", name="Models, and how far their numbers were checked")
    assert [text.split("\n")[0] for text in models.locator("> li").all_inner_texts()] == list(MODELS)
    assert models.get_by_text("Checked", exact=True).count() == 2
    assert models.get_by_text("identity 1.0e−6").count() == 2


def test_every_question_has_a_dot_filled_where_its_answer_is_known(open_view, document):
    page = open_view(document)
    columns = document["study"]["questions"]
    dots = page.locator(".lw-study-dot")
    assert sorted(int(row) for row in dots.evaluate_all("all => all.map((dot) => dot.dataset.row)")) == list(
        range(len(columns["id"]))
    )
    assert page.locator(".lw-study-dot.lw-study-is-known").count() == sum(columns["known"])
    assert page.locator(".lw-study-strip").count() == 2 * 3


def test_a_dot_stands_at_its_layer_s_depth_and_never_behind_all(open_view, document):
    page = open_view(document)
    columns = document["study"]["questions"]
    found = page.locator(".lw-study-strip").first.evaluate(
        """(strip) => [...strip.querySelectorAll('[data-row]')]
          .map((dot) => [Number(dot.dataset.row), Number(dot.getAttribute('cx'))])"""
    )
    layers = {row: columns["settled_top1"][row] for row, _ in found}
    places = [np.mean([x for row, x in found if layers[row] == layer]) for layer in sorted({*layers.values()} - {None})]
    steps = np.diff(places) / np.diff(sorted({*layers.values()} - {None}))
    assert steps == pytest.approx([steps[0]] * len(steps), rel=0.02)
    page.get_by_label("set", exact=True).select_option(label="plurals")
    page.get_by_label("milestone", exact=True).select_option(label="the answer leads first")
    never = page.locator(".lw-study-strip .lw-study-never").first.evaluate("(box) => Number(box.getAttribute('x'))")
    assert all(
        float(x) > never
        for x in page.locator(".lw-study-dot").evaluate_all("all => all.map((dot) => dot.getAttribute('cx'))")
    )


def test_a_click_on_a_dot_opens_the_question_s_grid(open_view, document):
    page = open_view(document)
    page.locator('[data-row="7"]').click(force=True)
    wait_for_state(page, question=7)
    headline = page.locator(".lw-headline")
    assert headline.is_visible()
    assert "“␣Berlin” first leads at layer 7 of 12" in headline.inner_text()
    page.get_by_role("button", name="Study").click()
    assert page.locator('.lw-study-dot.lw-study-chosen[data-row="7"]').count() == 1


def test_a_strip_is_walked_and_opened_with_the_keyboard_alone(open_view, document):
    page = open_view(document)
    strip = page.get_by_role("listbox", name=re.compile("^small, capitals, there"))
    strip.focus()
    cursor = strip.get_by_role("option")
    page.keyboard.press("Home")
    first = cursor.get_attribute("aria-label")
    page.keyboard.press("ArrowRight")
    second = cursor.get_attribute("aria-label")
    assert "settles at layer 0 of 12" in first
    assert "settles at layer 1 of 12" in second
    assert page.locator(".lw-view > .lw-unseen").text_content() == second
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    assert page.locator(".lw-headline").is_visible()
    wait_for_state(page, question=9)


def test_the_table_sorts_by_any_column_and_back(open_view, document):
    page = open_view(document)
    table = part(page, "Every question")
    probs = document["study"]["questions"]["output_prob"]
    button = table.get_by_role("button", name="p(answer)")

    def first():
        return int(rows_of(page).first.locator("[data-question]").get_attribute("data-question"))

    assert first() == 0
    button.click()
    assert table.locator("th[aria-sort]").get_attribute("aria-sort") == "ascending"
    assert probs[first()] == min(probs)
    button.click()
    assert probs[first()] == max(probs)
    wait_for_state(page, sort="-output_prob")
    button.click()
    assert first() == 0
    for header in table.locator("thead button").all():
        header.click()
        assert table.locator("th[aria-sort]").count() == 1


def test_the_table_is_filtered_by_words_and_columns(open_view, document):
    page = open_view(document)
    table = part(page, "Every question")
    columns = document["study"]["questions"]
    found = table.get_by_role("status")
    assert found.inner_text() == f"60 questions, {sum(columns['known'])} of them known"
    table.get_by_label("filter").fill("item3 wording:question")
    assert rows_of(page).count() == 6
    table.get_by_label("model").select_option("large")
    assert rows_of(page).count() == 3
    assert "large" in rows_of(page).first.inner_text()
    page.get_by_label("set", exact=True).select_option(label="plurals")
    assert rows_of(page).count() == 1
    table.get_by_label("filter").fill("known:no")
    wanted = [s == "plurals" and not known for s, known in zip(columns["set"], columns["known"], strict=True)]
    assert found.inner_text().startswith(f"{sum(wanted)} question")
    table.get_by_label("filter").fill("no such words")
    assert found.inner_text().startswith("0 questions")


def test_a_row_opens_its_question_with_the_mouse_and_with_the_keyboard(open_view, document):
    page = open_view(document)
    rows_of(page).nth(4).locator("td").nth(2).click()
    wait_for_state(page, question=4)
    page.get_by_role("button", name="Study").click()
    assert rows_of(page).nth(4).get_attribute("aria-current") == "true"
    rows_of(page).nth(2).locator("button").focus()
    page.keyboard.press("Enter")
    wait_for_state(page, question=2)
    assert page.locator(".lw-headline").is_visible()


def test_an_answer_beyond_the_stored_list_is_drawn_as_it_was_read(open_view):
    """Its curve is stored by itself; only other tokens are bounded by the last of the list."""
    whole = study_document()
    for detail in whole["study"]["details"]:
        for name in ("top_ids", "top_logprobs"):
            detail[name] = packed(unpacked(detail[name])[..., :1])
    page = open_view(whole, state={"question": 3, "tab": "trace"})
    assert page.locator(".lw-curve-answer .lw-limit-line").get_attribute("d") == ""
    assert page.locator(".lw-limit-line").count() > 1, "others are there"


def test_a_depth_beyond_the_last_layer_is_never(open_view):
    whole = study_document()
    whole["study"]["claims"][0] |= {"in_depths": True, "value": 0.8, "high": 1.05}
    page = open_view(whole)
    assert "0.80 [0.75, never]" in page.locator(".lw-study-verdict").first.inner_text()


def test_a_question_has_no_trace_to_choose(open_view):
    whole = study_document() | {"traces": document_of(tell(), tell(seed=3))["traces"]}
    page = open_view(whole, state={"question": 3, "tab": "trace"})
    assert not page.get_by_label("Trace", exact=True).is_visible()
    assert not page.get_by_label("Compare with").is_visible()
    page = open_view(whole, state={"tab": "trace"})
    assert page.get_by_label("Compare with").is_visible()


def test_a_matrix_cell_leads_to_its_questions(open_view, document):
    page = open_view(document)
    matrix = part(page, "Directions and wordings")
    assert matrix.locator("table").count() == 2
    cell = matrix.locator("table").first.get_by_role("button").first
    assert cell.inner_text() == "75 %"
    cell.click()
    wait_for_state(page, set="capitals", filter="model:small direction:there wording:statement")
    assert rows_of(page).count() == 5


def test_curves_show_the_chosen_measure(open_view, document):
    page = open_view(document)
    charts = part(page, "Curves by depth")
    label = charts.get_by_role("img").first.get_attribute("aria-label")
    assert "small: 0 % at depth 0, 100 % at the output" in label
    charts.get_by_label("measure").select_option(label="entropy")
    label = charts.get_by_role("img").first.get_attribute("aria-label")
    assert "large: 9.00 bits at depth 0, 1.00 bits at the output" in label


def test_what_was_chosen_survives_a_reload(open_view, document):
    page = open_view(document, state={"set": "plurals", "sort": "-output_prob", "filter": "known:yes"})
    before = rows_of(page).all_inner_texts()
    page.reload()
    page.wait_for_selector(".lw-study-table")
    assert rows_of(page).all_inner_texts() == before
    assert page.get_by_label("set", exact=True).input_value() == "2"
    assert part(page, "Every question").get_by_label("known").input_value() == "yes"


def test_what_the_charts_show_survives_a_reload(open_view, document):
    page = open_view(document)
    strips, curves = part(page, "Milestones by depth"), part(page, "Curves by depth")
    strips.get_by_label("milestone").select_option(index=1)
    curves.get_by_label("measure").select_option(label="entropy")
    part(page, "Directions and wordings").get_by_label("shown").select_option(value="depth")
    wait_for_state(page, curve="entropy_bits", matrix="depth")
    before = [page.locator("h2").all_inner_texts(), part(page, "Directions and wordings").inner_text()]
    page.reload()
    page.wait_for_selector(".lw-study-table")
    assert [page.locator("h2").all_inner_texts(), part(page, "Directions and wordings").inner_text()] == before
    assert strips.get_by_label("milestone").evaluate("chooser => chooser.selectedIndex") == 1
    assert curves.get_by_label("measure").input_value() == "entropy_bits"


def test_a_state_of_another_study_does_no_harm(open_view, document):
    page = open_view(
        document,
        state={
            "set": "gone",
            "sort": "-gone",
            "filter": 'known:" ("',
            "question": 10_000,
            "curve": "gone",
            "milestone": "",
        },
    )
    assert page.locator(".lw-study-table").is_visible()
    assert page.get_by_label("set", exact=True).input_value() == ""


def test_hostile_text_is_shown_as_text(open_view):
    whole = study_document(text=HOSTILE)
    study = whole["study"]
    study["title"] = whole["title"] = study["description"] = HOSTILE * 50
    study["models"] = [HOSTILE + "1", HOSTILE + "2" * 10_000]
    for name in ("prompt", "set", "direction", "wording", "id"):
        study["questions"][name] = [HOSTILE + value for value in study["questions"][name]]
    for each in (*study["cells"], *study["curves"], *study["claims"]):
        each["model"] = study["models"][list(MODELS).index(each["model"])]
        each |= {name: HOSTILE + each[name] for name in ("set", "direction", "wording", "sentence") if each.get(name)}
    page = open_view(whole, size=(400, 800))
    assert page.locator(".lw-panel-study img").count() == 0
    assert "</script><img" in page.locator("h1").inner_text()
    assert "\u202e" not in page.locator(".lw-view").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    rows_of(page).first.locator("button").click()
    assert page.title() != "ran"
    assert page.locator(".lw-headline").is_visible()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda study: study["questions"]["prompt"].pop(), "entries in “prompt”"),
        (lambda study: study.pop("models"), "models are missing"),
        (lambda study: study.pop("questions"), "questions are missing"),
        (lambda study: study["questions"].update(model=[7] * 60), "does not name"),
        (lambda study: study["details"][0]["top_ids"].update(base64="AAAA"), "was cut short"),
    ],
)
def test_a_damaged_study_says_so_in_the_page(open_view, document, tmp_path, damage, said):
    whole = copy.deepcopy(document)
    damage(whole["study"])
    page = open_view(write_as_it_is(tmp_path, whole))
    assert said in page.get_by_role("alert").first.inner_text()


def test_a_question_without_layers_says_so(open_view, document):
    whole = copy.deepcopy(document)
    detail = whole["study"]["details"][0]
    for name in ("rows", "tokens"):
        detail[name] = detail[name][:1]
    for name in ("top_ids", "top_logprobs"):
        detail[name] = packed(unpacked(detail[name])[:1])
    page = open_view(whole)
    assert rows_of(page).nth(0).locator("button").count() == 1
    assert rows_of(page).nth(3).get_by_title("Its layers are not in this view.").is_visible()
    rows_of(page).nth(3).click()
    dot = page.locator('[data-row="3"]')
    dot.click(force=True)
    assert "its layers are not in this view" in page.locator(".lw-study-tip").inner_text()
    assert state_of(page) == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_nothing_hinders_people_who_use_it_otherwise(open_view, document, scheme, width):
    page = open_view(document, size=(width, 900), scheme=scheme)
    page.locator(".lw-study-strip").first.focus()
    found = Axe().run(page).response["violations"]
    serious = [
        (each["id"], [node["html"] for node in each["nodes"]][:3])
        for each in found
        if each["impact"] in ("serious", "critical")
    ]
    assert serious == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_thousands_of_questions_are_drawn_and_sorted_at_once(open_view):
    page = open_view(study_document(items=300))
    assert page.locator(".lw-study-dot").count() == 3600
    took = page.evaluate(
        """() => {
          const start = performance.now();
          document.querySelector('.lw-study-table thead button').click();
          return performance.now() - start;
        }"""
    )
    assert took < 400
    assert rows_of(page).count() == 50
    page.get_by_role("button", name="more ›").click()
    assert "51 to 100 of 3,600" in part(page, "Every question").inner_text()
