from typing import Any

import pytest
import torch
import transformers

import layerwise as lw
from layerwise.capture.own_forward import generate_greedily, own_forward
from layerwise.errors import UnsupportedModelError


def test_own_forward_is_transformers_output_and_unnormed_states(family, oracle):
    truth = oracle(family)
    ids = truth.encode("The capital of Germany is")
    states, logits = truth.run(ids)
    own = own_forward(family._loaded, tuple(ids))
    assert torch.equal(own.states, states[:, -1])
    assert torch.allclose(own.logits.double(), logits[-1], atol=1e-4)


def test_hooks_are_gone_afterwards_even_behind_an_error(tiny):
    loaded = tiny._loaded
    own_forward(loaded, (1, 2))
    with pytest.raises(UnsupportedModelError, match="IndexError"):
        own_forward(loaded, (10**6,))
    watched = [*loaded.parts.blocks, loaded.parts.final_norm]
    assert not any(module._forward_pre_hooks for module in watched)


def test_generation_is_transformers_greedy_continuation(family):
    loaded = family._loaded
    ids = loaded.tokenizer.encode("The capital of Germany")
    prompt = torch.tensor([ids])
    theirs = loaded.hf.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),  # left to itself, generate would mask the toy BOS as padding
        max_new_tokens=8,
        do_sample=False,
        eos_token_id=None,
    )
    assert generate_greedily(loaded, ids, 8) == tuple(theirs[0, len(ids) :].tolist())


def test_generation_stops_behind_the_end_token(tiny):
    loaded = tiny._loaded
    ids = loaded.tokenizer.encode("The capital of Germany")
    made = generate_greedily(loaded, ids, 5)
    before, loaded.tokenizer.end_id = loaded.tokenizer.end_id, made[1]
    try:
        assert generate_greedily(loaded, ids, 5) == made[:2]
    finally:
        loaded.tokenizer.end_id = before


def test_generation_ignores_the_sampling_settings_of_a_checkpoint(fresh):
    plain, penalised = fresh(), fresh()
    penalised._loaded.hf.generation_config.update(do_sample=True, temperature=9.0, repetition_penalty=5.0)
    ids = plain._loaded.tokenizer.encode("The capital of Germany")
    assert generate_greedily(plain._loaded, ids, 6) == generate_greedily(penalised._loaded, ids, 6)


@pytest.mark.parametrize("as_list", [True, False])
def test_generation_stops_behind_the_generation_configs_end_tokens_too(fresh, as_list):
    loaded = fresh()._loaded
    ids = loaded.tokenizer.encode("The capital of Germany")
    made = generate_greedily(loaded, ids, 5)
    assert len(made) == 5
    loaded.hf.generation_config.eos_token_id = [529, made[1]] if as_list else made[1]
    assert generate_greedily(loaded, ids, 5) == made[: made.index(made[1]) + 1]


def test_generation_without_a_cache_of_keys_and_values(toy_tokenizer):
    torch.manual_seed(0)
    config = transformers.MambaConfig(vocab_size=530, hidden_size=64, num_hidden_layers=2, state_size=4)
    hf_model: Any = transformers.MambaForCausalLM(config).eval()
    model = lw.load(hf_model, tokenizer=toy_tokenizer(sentencepiece=False, bos=False))
    loaded = model._loaded
    ids = loaded.tokenizer.encode("The capital of Germany")
    theirs = hf_model.generate(torch.tensor([ids]), max_new_tokens=4, do_sample=False, eos_token_id=None)
    assert generate_greedily(loaded, ids, 4) == tuple(theirs[0, len(ids) :].tolist())
    model.trace("The capital of Germany", generate=2)  # with its identity check
