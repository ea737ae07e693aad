"""Answers, special tokens and chat with the bundled models' real tokenizers."""

import numpy as np
import pytest
import torch

from layerwise.errors import PromptError
from layerwise.questions.answers import resolve_answer


def resolve(model, prompt, text, *alternatives):
    tokenizer = model._loaded.tokenizer
    return resolve_answer(tokenizer, prompt, tokenizer.encode(prompt), text, alternatives)


def test_four_is_a_space_and_a_digit_and_the_digit_decides(bundled_model):
    for alternatives in ((), (" 5", " 3")):
        answer = resolve(bundled_model, "2 + 2 =", " 4", *alternatives)
        assert [token.text for token in answer.tokens] == [" ", "4"]
        assert answer.deciding_index == 1


def test_answers_that_merge_with_the_prompt_are_refused(bundled_model):
    with pytest.raises(PromptError, match=r"'Berlin' merges.*␣Berlin in prompt and answer.*Move the space"):
        resolve(bundled_model, "Question: What is the capital of Germany? Answer: ", "Berlin")
    with pytest.raises(PromptError, match=r"'ital' merges.*␣capital in prompt and answer"):
        resolve(bundled_model, "The cap", "ital")


def test_alternatives_settle_what_decides(bundled_model):
    answer = resolve(bundled_model, "She lives in", " New York", " New Delhi", " New Orleans")
    assert [token.text for token in answer.tokens] == [" New", " York"]
    assert answer.deciding_index == 1
    with pytest.raises(PromptError, match=r"' New' from the alternative ' New York'"):
        resolve(bundled_model, "She lives in", " New", " New York")


def test_bos_is_what_each_tokenizer_does_by_itself(gemma, smollm):
    assert gemma.trace("Paris").tokens[0].text == "<bos>"
    assert [token.text for token in smollm.trace("Paris").tokens] == ["Paris"]


def test_texts_join_to_the_prompt_whatever_it_holds(bundled_model):
    tokenizer = bundled_model._loaded.tokenizer
    text = "Grüße, 2 + 2 = 4\n\tnaïve  words"
    ids = tokenizer.encode(text, special=False)
    assert "".join(token.text for token in tokenizer.tokens(ids)) == text


def test_bytes_of_a_split_character_are_spelled_out(bundled_model):
    tokenizer = bundled_model._loaded.tokenizer
    ids = tokenizer.encode("\U000131d3", special=False)  # a hieroglyph that neither model has whole
    assert len(ids) > 1
    assert all("\ufffd" not in tokenizer.text_of(i) for i in ids)
    assert any(tokenizer.text_of(i).startswith("\\x") for i in ids)


def test_gemma_is_a_base_model_without_chat(gemma):
    with pytest.raises(PromptError, match=r"no chat template"):
        gemma.trace("Hello", chat=True)


def test_smollm_is_traced_inside_its_chat_template(smollm):
    plain = smollm.trace("What is the capital of Germany?", chat=True)
    assert plain.prompt.endswith("<|im_start|>assistant\n")
    brief = smollm.trace("What is the capital of Germany?", chat=True, system="Answer in one word.")
    assert "Answer in one word." in brief.prompt
    assert sum(token.text == "<|im_start|>" for token in brief.tokens) == 3
    special = {token.id for token in brief.tokens if token.text.startswith("<|im_")}
    assert special <= smollm._loaded.tokenizer.special_ids


def test_generation_is_transformers_greedy_continuation(bundled_model):
    prompt = "The capital of Germany is"
    trace = bundled_model.trace(prompt, generate=6)
    ids = torch.tensor([[token.id for token in trace.tokens]])
    theirs = bundled_model._loaded.hf.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False, top_k=None, top_p=None
    )
    assert [token.id for token in trace.generated] == theirs[0, ids.shape[1] :].tolist()
    longer = bundled_model.trace(prompt + "".join(t.text for t in trace.generated[:-1]), positions="all")
    assert longer.tokens == trace.tokens + trace.generated[:-1]
    # Measured: no difference at all.
    np.testing.assert_allclose(trace.top_logprobs, longer.top_logprobs[:, len(trace.tokens) - 1 :], atol=1e-3)


def test_a_whole_answer_is_the_models_own_teacher_forced_score(bundled_model):
    prompt, answer = "Question: What is the largest city in the United States? Answer:", " New York City"
    trace = bundled_model.trace(prompt, answer=answer, alternatives=" New Orleans")
    ids = [token.id for token in trace.tokens] + list(trace.answer.answers[0].ids)
    with torch.no_grad():
        own = bundled_model._loaded.hf(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
    at = range(len(trace.tokens), len(ids))
    assert trace.answer.logprob[-1] == pytest.approx(sum(own[i - 1, ids[i]].item() for i in at), abs=1e-4)
    assert trace.answer.prob[-1] == pytest.approx(own[at[1] - 1, ids[at[1]]].exp().item(), abs=1e-5)


def test_prompts_of_mixed_length_read_as_they_do_alone(bundled_model):
    from layerwise import Request

    prompts = ["Paris", "The capital of Germany is", "2 + 2 =", "The capital of France is"]
    together = bundled_model.trace_all([Request(p, answers=(" 4",)) for p in prompts])
    for prompt, [trace] in zip(prompts, together, strict=True):
        alone = bundled_model.trace(prompt, answer=" 4")
        # Measured: no difference at all; the slack is for kernels that choose another order for a batch.
        np.testing.assert_allclose(trace.top_logprobs, alone.top_logprobs, atol=2e-3)
        np.testing.assert_allclose(trace.entropy_bits, alone.entropy_bits, atol=2e-3)
        np.testing.assert_allclose(trace.answer.logprob, alone.answer.logprob, rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("The Eiffel Tower is in the city of", " Paris"),
        ("The Eiffel Tower is in the city of", " London"),
        ("2 + 2 =", " 4"),
        ("Monday, Tuesday, Wednesday,", " Thursday"),
        ("The capital of Germany is", " Berlin"),
    ],
)
def test_an_answer_is_known_if_the_model_goes_on_with_it(bundled_model, prompt, answer):
    tokenizer, hf = bundled_model._loaded.tokenizer, bundled_model._loaded.hf
    ids, wanted = tokenizer.encode(prompt), resolve(bundled_model, prompt, answer).ids
    went_on = hf.generate(torch.tensor([ids]), max_new_tokens=len(wanted), do_sample=False)[0, len(ids) :]
    assert bundled_model.trace(prompt, answer=answer).answer.known == (tuple(went_on.tolist()) == wanted)
