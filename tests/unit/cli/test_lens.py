import json
import re
import signal

import pytest

from layerwise.fitting import accumulating
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

    def call(*arguments, method="ridge", text=True):
        given = ("--text", str(corpus), "--text-field", "body") if text else ()
        out = () if "--out" in arguments else ("--out", str(tmp_path / "lens"))
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
        monkeypatch.setattr(accumulating, "_BETWEEN_CHECKPOINTS", 0)
        monkeypatch.setattr(accumulating, "_SHARE_OF_WRITING", float("inf"))
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
