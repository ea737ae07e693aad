"""`layerwise causal-trace`: a report from a question set."""

from layerwise.causal import causal_tracing
from layerwise.causal.pairs import Asked


def test_a_set_becomes_a_report(layerwise, family_folder, tmp_path, monkeypatch):
    def ask(model, questions, *_, **__):
        return Asked(len(questions), {question: [] for question in questions})

    monkeypatch.setattr(causal_tracing, "ask", ask)
    code, _, err = layerwise(
        *("causal-trace", "capitals", "--model", str(family_folder("qwen3")), "--pairs", "2", "--quiet"),
        *("--question-direction", "country-to-capital", "--direction", "denoise", "--out", str(tmp_path / "out")),
    )
    assert code == 0, err
    assert "Report:" in err
    assert "capitals country-to-capital" in (tmp_path / "out" / "report.md").read_text()


def test_a_model_that_knows_nothing_is_one_message(layerwise, family_folder, tmp_path):
    code, out, err = layerwise(
        *("causal-trace", "capitals", "--model", str(family_folder("qwen3")), "--pairs", "2", "--quiet"),
        *("--wording", "statement", "--question-direction", "country-to-capital", "--out", str(tmp_path / "out")),
    )
    assert code == 1
    assert "can be patched with each other" in " ".join(err.split())
    assert not out
