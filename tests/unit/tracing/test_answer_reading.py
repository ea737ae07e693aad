"""Answers of several tokens, and sets of answers, against transformers' teacher-forced forward."""

import numpy as np
import pytest
import torch

import layerwise as lw
from layerwise.errors import PromptError
from layerwise.questions.answers import resolve_answer

PROMPT = "Berlin is in"


def chain(truth, prompt_ids, answer_ids) -> torch.Tensor:
    """Return log-probabilities [layer, answer token] from one forward of prompt and answer together."""
    states, _ = truth.run([*prompt_ids, *answer_ids])
    behind = truth.lens(states[:, len(prompt_ids) - 1 : -1]).log_softmax(-1)
    return behind.gather(-1, torch.tensor(answer_ids)[None, :, None].expand(len(behind), -1, 1))[..., 0]


@pytest.fixture
def setting(family, oracle):
    truth = oracle(family)
    prompt_ids = truth.encode(PROMPT)

    def ids_of(text):
        return resolve_answer(family._loaded.tokenizer, PROMPT, tuple(prompt_ids), text).ids

    return family, truth, prompt_ids, ids_of


def test_a_whole_answer_follows_the_chain_rule_at_every_layer(setting):
    model, truth, prompt_ids, ids_of = setting
    ids = ids_of(" the city of Paris")
    assert len(ids) >= 4
    expected = chain(truth, prompt_ids, list(ids))
    trace = model.trace(PROMPT, answer=" the city of Paris")
    # Sums of four float32 log-probabilities of up to 30: measured 1.4e-5.
    np.testing.assert_allclose(trace.answer.logprob, expected.sum(-1), atol=1e-4)
    own = model._loaded.hf(input_ids=torch.tensor([[*prompt_ids, *ids]])).logits[0].log_softmax(-1)
    by_transformers = sum(own[len(prompt_ids) - 1 + k, token] for k, token in enumerate(ids))
    assert trace.answer.logprob[-1] == pytest.approx(float(by_transformers), abs=1e-4)


def test_the_deciding_token_is_read_behind_the_answer_so_far(setting):
    model, truth, prompt_ids, ids_of = setting
    ids = ids_of(" the city of Paris")
    trace = model.trace(PROMPT, answer=" the city of Paris", alternatives=" the city of Berlin")
    at = trace.answer.answers[0].deciding_index
    assert at == 3
    expected = chain(truth, prompt_ids, list(ids))
    np.testing.assert_allclose(trace.answer.prob, expected[:, at].exp(), atol=1e-5)
    np.testing.assert_allclose(trace.answer.first_token_prob, expected[:, 0].exp(), atol=1e-5)
    states, _ = truth.run([*prompt_ids, *ids[:at]])
    z = truth.lens(states[:, -1])
    assert trace.answer.rank.tolist() == (1 + (z > z[:, ids[at], None]).sum(-1)).tolist()
    others = z.clone()
    others[:, ids[at]] = -np.inf
    np.testing.assert_allclose(trace.answer.margin, z[:, ids[at]] - others.amax(-1), atol=1e-4)


def test_a_set_adds_probabilities_and_takes_the_best_rank(setting):
    model, truth, prompt_ids, ids_of = setting
    texts = [" Berlin", " Paris", " the city of Paris"]
    paris, berlin, long = ids_of(" Paris"), ids_of(" Berlin"), ids_of(" the city of Paris")
    trace = model.trace(PROMPT, answer=texts)
    logprobs = [chain(truth, prompt_ids, list(ids)).sum(-1) for ids in (paris, berlin, long)]
    np.testing.assert_allclose(trace.answer.logprob, torch.stack(logprobs).logsumexp(0), atol=1e-4)
    z = truth.lens(truth.run(prompt_ids)[0][:, -1])
    firsts = [paris[0], berlin[0], long[0]]
    best = z[:, firsts].amax(-1)
    assert trace.answer.rank.tolist() == (1 + (z > best[:, None]).sum(-1)).tolist()
    np.testing.assert_allclose(trace.answer.prob, z.softmax(-1)[:, firsts].sum(-1), atol=1e-5)
    others = z.clone()
    others[:, firsts] = -np.inf
    np.testing.assert_allclose(trace.answer.margin, best - others.amax(-1), atol=1e-4)
    assert trace.answer.first_token_rank.tolist() == trace.answer.rank.tolist()


def test_a_set_of_one_is_that_answer(family):
    one, also = family.trace(PROMPT, answer=" the city"), family.trace(PROMPT, answer=(" the city",))
    assert one == also


def test_an_answer_named_twice_counts_once(family):
    once = family.trace(PROMPT, answer=" Paris").answer
    twice = family.trace(PROMPT, answer=(" Paris", " Paris")).answer
    for name in ("prob", "rank", "logprob", "margin", "first_token_prob"):
        np.testing.assert_allclose(getattr(twice, name), getattr(once, name), rtol=1e-5, atol=1e-5)


def test_an_answer_that_continues_another_adds_nothing(family):
    """Whoever says " the city" has said it, whatever comes next; the longer one is part of that."""
    short = family.trace(PROMPT, answer=" the city").answer
    both = family.trace(PROMPT, answer=(" the city of Paris", " the city")).answer
    np.testing.assert_allclose(both.logprob, short.logprob, atol=1e-4)


def test_an_answer_of_several_tokens_beside_generated_ones(family):
    plain = family.trace(PROMPT, answer=" the city of Paris").answer
    going = family.trace(PROMPT, answer=" the city of Paris", generate=3).answer
    np.testing.assert_allclose(going.logprob, plain.logprob, atol=1e-4)
    np.testing.assert_allclose(going.prob, plain.prob, atol=1e-5)


def test_a_wrong_answer_is_read_like_one_up_to_its_deciding_token(family):
    request = lw.Request(PROMPT, (" the city of Paris",), wrong=" the city of Berlin")
    [[both]] = family.trace_all([request])
    alone = family.trace(PROMPT, answer=" the city of Berlin", alternatives=" the city of Paris")
    decides = alone.answer.answers[0].deciding_index
    assert decides == 3
    assert len(both.wrong.answers[0].tokens) == decides + 1
    np.testing.assert_allclose(both.wrong.prob, alone.answer.prob, atol=1e-5)
    assert both.wrong.rank.tolist() == alone.answer.rank.tolist()


def test_a_wrong_answer_needs_an_answer(family):
    with pytest.raises(PromptError, match="Add an answer"):
        family.trace_all([lw.Request(PROMPT, wrong=" Paris")])


def test_the_worst_rank_is_that_of_the_whole_answers_least_likely_token(setting):
    model, truth, prompt_ids, ids_of = setting
    ids = ids_of(" the city of Paris")
    states, _ = truth.run([*prompt_ids, *ids])
    z = truth.lens(states[:, len(prompt_ids) - 1 : -1])
    ranks = 1 + (z > z.gather(-1, torch.tensor(ids)[None, :, None].expand(len(z), -1, 1))).sum(-1)
    trace = model.trace(PROMPT, answer=" the city of Paris")
    assert trace.answer.worst_rank.tolist() == ranks.amax(-1).tolist()
    assert trace.answer.known == (ranks[-1].max() == 1)
