import json
import re
import signal

import pytest

from layerwise.fitting import checkpoint_clock
from layerwise.fitting.ridge import RidgeEstimator


@pytest.fixture
def corpus(tmp_path):
    import pydoc_data.topics

    texts = [text[:1500] for _, text in sorted(pydoc_data.topics.topics.items())][:20]
    file = tmp_path / "corpus.jsonl"
    file.write_text("\n".join(json.dumps({"body": text}) for text in texts), encoding="utf-8")
    return file


@pytest.fixture
def fit(layerwise, toy_bundled, corpus, tmp_path):
    """Fits a lens for the toy model, with these arguments beside the usual ones."""
    toy_bundled()

    def call(*arguments, method="ridge", text=True, own=False):
        given = ("--text", str(corpus), "--text-field", "body") if text else ()
        out = () if "--out" in arguments or own else ("--out", str(tmp_path / "lens"))
        usual = ("--model", "smollm2-135m", "--method", method, "--texts", "16", "--length", "16")
        return layerwise("lens", "fit", *usual, *given, *out, *arguments)

    return call


def test_a_fit_says_what_it_costs_how_it_does_and_how_to_read_through_it(fit, layerwise, tmp_path):
    code, out, err = fit()
    assert code == 0, err
    assert re.search(r"This takes about .* of memory beside the model, and .* of disk\.", err)
    assert "KL to output (bits)" in out
    assert f"--lens logit --lens ridge:{tmp_path / 'lens'}" in out
    lens = f"ridge:{tmp_path / 'lens'}"
    code, out, err = layerwise("trace", "a b", "--model", "smollm2-135m", "--lens", lens, "--quiet")
    assert code == 0, err


def test_a_lens_is_fitted_in_shards(fit, layerwise, tmp_path):
    for number in (1, 2):
        code, out, err = fit("--shard", f"{number}/2", "--out", str(tmp_path / f"part-{number}"), "--quiet")
        assert code == 0, err
        assert f"Shard {number}/2 written to " in out
    parts = [str(tmp_path / f"part-{number}") for number in (1, 2)]
    code, out, err = layerwise("lens", "merge", *parts, "--model", "smollm2-135m", "--out", str(tmp_path / "merged"))
    assert code == 0, err
    assert "ridge lens of smollm2-135m, fitted on 256 tokens" in out


def test_the_model_writes_the_text_where_it_is_asked_to(fit, tmp_path):
    code, _, err = fit("--self-text", "--quiet", text=False)
    assert code == 0, err
    assert (tmp_path / "lens" / "lens.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "text", "said"),
    [
        ((), False, "There is no text to fit on: give --text FILE"),
        (("--self-text",), True, "--text and --self-text exclude each other"),
        (("--shard", "3/2"), True, "--shard '3/2' names no shard"),
        (("--shard", "a"), True, "--shard 'a' names no shard"),
        (("--option", "penalty"), True, "--option 'penalty' sets nothing"),
        (("--option", "depth=3"), True, "ridge has no setting 'depth'"),
        (("--option", "penalty=large"), True, "The setting penalty is a number"),
        (("--text", "none.txt"), True, "none.txt cannot be read"),
        (("--until", "7"), True, "--until is a share of positions"),
    ],
)
def test_what_cannot_be_is_one_message(fit, arguments, text, said):
    code, _, err = fit(*arguments, "--quiet", text=text)
    assert code == 1
    assert said in " ".join(err.split())
    assert "Traceback" not in err


def test_an_unknown_method_is_one_message(fit):
    code, _, err = fit(method="lasso")
    assert code == 1
    assert "No lens is fitted by 'lasso'; expected one of ridge" in " ".join(err.split())


@pytest.mark.parametrize("stored", [True, False])
def test_an_interrupted_fit_says_how_to_go_on(fit, monkeypatch, tmp_path, capsys, stored):
    if stored:
        monkeypatch.setattr(checkpoint_clock, "BETWEEN", 0)
        monkeypatch.setattr(checkpoint_clock, "_SHARE_OF_WRITING", float("inf"))
    monkeypatch.setattr("layerwise.fitting.methods._WINDOWS_AT_ONCE", 2)
    usual, taken = RidgeEstimator.add, []

    def add(self, windows, progress=None):
        taken.append(windows)
        if len(taken) == 3:
            signal.raise_signal(signal.SIGINT)
        usual(self, windows, progress)

    monkeypatch.setattr(RidgeEstimator, "add", add)
    code, _, err = fit("--quiet")
    assert code == 130
    assert ("the same command goes on with it" if stored else "Interrupted before anything was stored") in err
    assert (tmp_path / "lens.partial").exists() == stored


def test_lenses_are_judged_side_by_side(fit, layerwise, tmp_path):
    fit("--quiet")
    items = [
        {"name": name, "prompt": prompt, "target": None, "intermediates": ["Berlin"]}
        for name, prompt in (("one", "the capital of"), ("two", "of the country"))
    ]
    (tmp_path / "lens-eval-multihop.json").write_text(json.dumps({"items": items}))
    lens, report = f"ridge:{tmp_path / 'lens'}", tmp_path / "report"
    given = ("--model", "smollm2-135m", "--items", str(tmp_path / "lens-eval-multihop.json"), "--out", str(report))
    code, out, err = layerwise("lens", "report", lens, *given, "--k", "3", "--title", "Mine")
    assert code == 0, err
    assert "unspoken: pass@3" in out
    assert "ridge:lens" in out
    assert "it is fitted to come close to the output" in out
    text = (report / "report.md").read_text("utf-8")
    assert text.startswith("# Mine\n")
    assert "| `ridge:lens` |" in text
    assert "*Random weights*" in text
    assert (report / "report.html").is_file()


def test_a_set_that_cannot_be_read_is_refused_before_a_model_is_loaded(layerwise, tmp_path):
    (tmp_path / "set.json").write_text("{}")
    code, _, err = layerwise(
        "lens", "report", "logit", "--items", str(tmp_path / "set.json"), "--model", "no-such-model"
    )
    assert code == 1
    assert "holds no items" in err


def test_a_report_that_has_no_place_is_said_before_any_model_is_read(layerwise, tmp_path):
    (tmp_path / "file").write_text("here")
    code, _, err = layerwise("lens", "report", "logit", "--model", "no-such-model", "--out", str(tmp_path / "file"))
    assert code == 1
    assert "could not be written" in err
    assert "no-such-model" not in err


def test_a_report_on_a_lens_that_is_not_there_says_how_to_fit_one(layerwise, toy_bundled):
    toy_bundled()
    code, _, err = layerwise("lens", "report", "ridge", "--model", "smollm2-135m")
    assert code == 1
    assert "layerwise lens fit --model smollm2-135m --method ridge" in err


def test_a_lens_without_a_folder_is_the_models_own(fit, layerwise, tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path / "cache"))
    code, out, err = fit(own=True)
    assert code == 0, err
    assert "--lens logit --lens ridge\n" in out
    code, out, err = layerwise(
        "trace", "a b", "--model", "smollm2-135m", "--lens", "ridge", "--lens", "logit", "--quiet"
    )
    assert code == 0, err
    assert "ridge lens" in out
    assert "leads first at layer" in out
    code, _, err = fit(own=True)
    assert code == 1
    assert "already" in err


def test_a_shard_needs_a_folder_of_its_own(fit):
    code, _, err = fit("--shard", "1/2", own=True)
    assert code == 1
    assert "--out DIR" in err


def test_random_weights_have_no_lens_of_their_own(layerwise):
    code, _, err = layerwise("lens", "fit", "--model", "random:smollm2-135m", "--method", "ridge", "--self-text")
    assert code == 1
    assert "random weights have no lenses of their own" in err
