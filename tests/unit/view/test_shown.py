"""How records show themselves: `layerwise.display` and what stands behind it."""

import subprocess
import sys
from dataclasses import fields
from html import escape
from typing import Any

import pytest

from layerwise.errors import MissingDependencyError, PromptError
from layerwise.execution.recording import record
from layerwise.studies.study import plan_study
from layerwise.text import visible
from layerwise.view import widget as widgets
from layerwise.view.document import view_document
from layerwise.view.module import module_text, style_text
from layerwise.view.shown import show, shown_run, shown_trace

PROMPT = "The capital of Germany is"
WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module")
def trace(tiny):
    return tiny.trace(PROMPT, answer=" Berlin")


@pytest.fixture(scope="module")
def run(load_family, tmp_path_factory):
    model = load_family("qwen3")
    question = {"id": "one", "prompt": PROMPT, "answers": [" Berlin"]}
    folder = tmp_path_factory.mktemp("run")
    raw = {"name": "small", "title": "<script>alert(1)</script>", "models": [model.info.name], "questions": [question]}
    return record(plan_study(raw, "test", folder), folder / "run", load=lambda name: model)


@pytest.fixture
def without_anywidget(monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    widgets._widget_class.cache_clear()
    yield
    widgets._widget_class.cache_clear()


def test_a_trace_shows_a_widget_a_table_and_text(trace):
    pytest.importorskip("anywidget")
    bundle, _ = trace._repr_mimebundle_()
    assert bundle.keys() == {WIDGET, "text/html", "text/plain"}
    assert bundle["text/plain"] == repr(trace)
    assert "<table" in bundle["text/html"]


def test_the_widget_is_the_module_with_the_document(trace):
    pytest.importorskip("anywidget")
    document = view_document([trace])
    made: Any = widgets.widget(document)
    assert made.document == document
    assert made.trait_metadata("document", "sync")
    assert str(made._esm) == module_text()
    assert str(made._css) == style_text()
    assert repr(made) == f"View({PROMPT!r})"


def test_without_anywidget_there_is_the_table(trace, without_anywidget):
    bundle, _ = trace._repr_mimebundle_()
    assert bundle.keys() == {"text/html", "text/plain"}
    assert "<table" in bundle["text/html"]
    with pytest.raises(MissingDependencyError, match=r"pip install 'layerwise\[viewer\]'"):
        widgets.widget(view_document([trace]))


def test_anywidget_that_is_there_and_broken_is_not_taken_for_missing(trace, monkeypatch):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "anywidget":
                raise ModuleNotFoundError("No module named 'psygnal'", name="psygnal")

    monkeypatch.delitem(sys.modules, "anywidget", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    widgets._widget_class.cache_clear()
    with pytest.raises(ModuleNotFoundError, match="psygnal"):
        widgets.widget(view_document([trace]))


def test_a_run_shows_its_questions(run, without_anywidget):
    bundle, _ = run._repr_mimebundle_()
    assert bundle.keys() == {"text/html", "text/plain"}
    assert "&lt;script&gt;" in bundle["text/html"]
    assert "<script" not in bundle["text/html"]
    assert f"<bdi>{PROMPT}</bdi>" in bundle["text/html"]
    assert "<bdi> Berlin</bdi>" in bundle["text/html"]


def test_a_run_is_shown_as_its_study(run):
    document = shown_run(run).document
    assert document["traces"] == []
    assert document["study"]["name"] == "small"


def test_a_class_made_from_a_record_is_shown_as_that_record(trace, run, without_anywidget):
    class Run(type(trace)):  # named as another record is
        pass

    class Annotated(type(run)):
        pass

    own_trace = Run(**{field.name: getattr(trace, field.name) for field in fields(trace)})
    own_run = Annotated(run.path, run.manifest)
    assert own_trace._repr_mimebundle_()[0]["text/html"] == trace._repr_mimebundle_()[0]["text/html"]
    assert own_run._repr_mimebundle_()[0]["text/html"] == run._repr_mimebundle_()[0]["text/html"]


def test_the_table_is_of_the_prompts_last_position(tiny):
    trace = tiny.trace(PROMPT, answer=" Berlin", positions="all", generate=2)
    text = shown_trace(trace)._repr_mimebundle_()[0]["text/html"]
    assert text.count("<tr>") == trace.n_layers + 2
    for token in trace.top(2):
        assert f">{escape(visible(token.text))}</bdi>" in text
    assert f'<td style="text-align:left;vertical-align:top;padding:1px 8px">{trace.answer.rank[3]}</td>' in text
    assert "logit lens agrees with the model" in text


def test_a_trace_writes_itself_as_a_page(trace, tmp_path):
    trace.to_html(tmp_path / "trace.html")
    assert '<script type="application/json" id="lw-document">' in (tmp_path / "trace.html").read_text("utf-8")


def test_opening_a_trace_imports_nothing_of_the_view(trace, tmp_path):
    trace.save(tmp_path / "trace.json")
    code = (
        f"import sys; from layerwise import Trace; repr(Trace.open({str(tmp_path / 'trace.json')!r})); "
        "print([m for m in sys.modules if m.startswith(('layerwise.view', 'anywidget'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_several_traces_are_one_view(tiny, trace, tmp_path):
    other = tiny.trace("The capital of France is")
    shown = show(trace, other, title="Two capitals")
    assert [part["prompt"] for part in shown.document["traces"]] == [trace.prompt, other.prompt]
    assert shown.document["title"] == "Two capitals"
    shown.to_html(tmp_path / "two.html")
    assert "The capital of France is" in (tmp_path / "two.html").read_text("utf-8")
    assert "text/html" in shown._repr_mimebundle_()[0]


def test_nothing_to_show_is_said():
    with pytest.raises(PromptError, match="nothing to show"):
        show()
