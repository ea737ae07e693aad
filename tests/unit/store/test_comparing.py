"""Two models on the same questions: where their predictions part."""

import copy
import dataclasses

import pytest
import torch
from scipy.special import rel_entr
from typer.testing import CliRunner

import layerwise as lw
from layerwise.cli.app import app
from layerwise.errors import StoreError
from layerwise.execution.recording import record
from layerwise.store.comparing import compare, sides
from layerwise.studies.study import plan_study

QUESTIONS = [
    {"id": "a", "prompt": "The capital of Germany is", "answers": [" Berlin"]},
    {"id": "b", "prompt": "Once upon a time"},
]


@pytest.fixture(scope="module")
def pair(fresh_parts):
    """A toy model, and the same one after its weights were rounded to three bits or so."""
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    rounded = copy.deepcopy(hf_model)
    with torch.no_grad():
        for parameter in rounded.parameters():
            parameter.copy_((parameter * 4).round() / 4)
    return tuple(lw.load(model, tokenizer=hf_tokenizer) for model in (hf_model, rounded))


def run(model, folder, name, top_k=530, questions=QUESTIONS):
    study = {"name": name, "title": name, "models": [name], "top_k": top_k, "questions": questions}
    named = lw.Model(dataclasses.replace(model._loaded, name=name))
    return record(plan_study(study, "test"), folder / name, load=lambda _: named)


def exact_kl(first, second, prompt, layer):
    p, q = (torch.tensor(model.trace(prompt, top_k=530).top_logprobs[layer, 0]).double() for model in (first, second))
    i, j = (torch.tensor(model.trace(prompt, top_k=530).top_ids[layer, 0]) for model in (first, second))
    p, q = p[i.argsort()].exp(), q[j.argsort()].exp()
    return float(rel_entr(p.numpy(), q.numpy()).sum() / torch.log(torch.tensor(2.0)))


def test_with_the_whole_vocabulary_kept_it_is_the_divergence_itself(pair, tmp_path):
    first, second = (run(model, tmp_path, name) for model, name in zip(pair, "ab", strict=True))
    found = compare(*sides([first, second]))
    assert [row.layer for row in found] == [0, 1, 2, 3, 4]
    for row in found:
        exact = [exact_kl(pair[0], pair[1], question["prompt"], row.layer) for question in QUESTIONS]
        assert row.largest_kl_bits == pytest.approx(max(exact), rel=1e-4, abs=1e-4)
        assert row.median_kl_bits == pytest.approx(sum(exact) / 2, rel=1e-4, abs=1e-4)
        assert row.largest_question == "ab"[exact.index(max(exact))]
    assert found[-1].median_kl_bits > 0.01, "or the rounding would have changed nothing"


def test_with_few_tokens_kept_it_is_less(pair, tmp_path):
    whole = compare(*sides([run(model, tmp_path, f"w{k}") for k, model in enumerate(pair)]))
    some = compare(*sides([run(model, tmp_path, f"s{k}", top_k=5) for k, model in enumerate(pair)]))
    for bound, exact in zip(some, whole, strict=True):
        assert bound.largest_kl_bits <= exact.largest_kl_bits + 1e-6


def test_ranks_are_compared_where_there_is_an_answer(pair, tmp_path):
    found = compare(*sides([run(model, tmp_path, f"r{k}") for k, model in enumerate(pair)]))
    ranks = [model.trace(QUESTIONS[0]["prompt"], answer=" Berlin").answer_rank for model in pair]
    for row in found:
        assert row.answers == 1
        assert row.largest_rank_change == ranks[1][row.layer] - ranks[0][row.layer]
        assert row.same_rank == (ranks[0][row.layer] == ranks[1][row.layer])


def test_a_model_does_not_part_from_itself(pair, tmp_path):
    twice = [run(pair[0], tmp_path, name) for name in ("x", "y")]
    for row in compare(*sides(twice)):
        assert (row.largest_kl_bits, row.same_top, row.largest_rank_change) == (0, 1, 0)


def test_what_cannot_be_compared_is_refused(pair, fresh_parts, tmp_path):
    first = run(pair[0], tmp_path, "first")
    with pytest.raises(StoreError, match=r"Expected two models to compare.*got 1"):
        sides([first])
    other = [{"id": "c", "prompt": "Paris"}]
    with pytest.raises(StoreError, match=r"no question in common"):
        compare(*sides([first, run(pair[1], tmp_path, "second", questions=other)]))
    deeper, tokenizer = fresh_parts("qwen3", num_hidden_layers=5)
    with pytest.raises(StoreError, match=r"has 4 layers and fifth has 5"):
        compare(*sides([first, run(lw.load(deeper, tokenizer=tokenizer), tmp_path, "fifth")]))
    hf_model, hf_tokenizer = fresh_parts("mistral")
    with pytest.raises(StoreError, match=r"into different tokens"):
        compare(*sides([first, run(lw.load(hf_model, tokenizer=hf_tokenizer), tmp_path, "mistral")]))
    with pytest.raises(StoreError, match=r"nothing of first through the raw lens"):
        compare(*sides([first, first]), lens="raw")


def test_the_command_shows_it(pair, tmp_path):
    for model, name in zip(pair, "ab", strict=True):
        run(model, tmp_path, name, top_k=5)
    shown = CliRunner().invoke(app, ["runs", "compare", str(tmp_path / "a"), str(tmp_path / "b")])
    assert shown.exit_code == 0
    assert "a → b, 2 questions, logit lens" in shown.output
    written = CliRunner().invoke(app, ["runs", "compare", str(tmp_path / "a"), str(tmp_path / "b"), "--json", "-"])
    assert '"largest_kl_bits"' in written.output
