import dataclasses

import pytest
import torch

from layerwise.models.anatomy.decoder import find_parts
from layerwise.models.output_head.output_head import OutputHead, OutputTransform, make_output_head


def own_logits(hf_model, ids):
    with torch.no_grad():
        return hf_model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]


def test_head_reproduces_the_models_own_logits(family, oracle):
    truth = oracle(family)
    ids = truth.encode("The capital of Germany is")
    states, logits = truth.run(ids)
    head = family._loaded.output_head
    # Same products in float32, summed in another order: measured 6e-6 on logits up to 25.
    assert torch.allclose(head.logits(head.normed(states[-1])).double(), logits, atol=1e-4)


def test_the_soft_cap_bends_what_the_toy_gemma_says(fresh):
    """Guards the family tests: with a cap that changes nothing they would prove nothing."""
    capped = fresh("gemma2").trace("The capital of Germany is")
    free = fresh("gemma2", final_logit_softcapping=None).trace("The capital of Germany is")
    assert abs(capped.top_logprobs[-1, 0, 0] - free.top_logprobs[-1, 0, 0]) > 1
    straight = fresh("gemma2", attn_logit_softcapping=None).trace("The capital of Germany is")
    assert straight.top_ids[-1].tolist() != capped.top_ids[-1].tolist()


def test_the_sliding_window_cuts_what_the_toy_mistral_sees(fresh):
    near = fresh("mistral").trace("Once upon a time a king lived in a castle")
    wide = fresh("mistral", sliding_window=None).trace("Once upon a time a king lived in a castle")
    assert near.top_ids[-1].tolist() != wide.top_ids[-1].tolist()


def test_the_rope_scaling_turns_what_the_toy_llama_says(fresh):
    plain = {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}
    scaled = fresh("llama3").trace("Once upon a time a king lived in a castle")
    unscaled = fresh("llama3", **plain).trace("Once upon a time a king lived in a castle")
    assert abs(scaled.top_logprobs[-1, 0, 0] - unscaled.top_logprobs[-1, 0, 0]) > 0.01


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (OutputTransform(), [-40.0, 0.0, 3.0]),
        (OutputTransform(scale=0.5), [-20.0, 0.0, 1.5]),
        (OutputTransform(softcap=30.0), [-26.1018, 0.0, 2.9900]),
        (OutputTransform(scale=2.0, softcap=30.0), [-29.7117, 0.0, 5.9213]),
    ],
)
def test_output_transform_scales_then_caps(transform, expected):
    logits = torch.tensor([-40.0, 0.0, 3.0])
    assert transform.apply_(logits) is logits
    assert logits.tolist() == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        ("CohereConfig", {"logit_scale": 0.25}),
        ("GraniteConfig", {"logits_scaling": 4.0}),
        ("GPT2Config", {}),
        ("PhiConfig", {}),  # its head has a bias
        ("Gemma3TextConfig", {"final_logit_softcapping": 3.0}),
    ],
)
def test_other_families_output_transforms_are_found(config, settings):
    import transformers

    torch.manual_seed(3)
    small = {"vocab_size": 90, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    small |= {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.5, "pad_token_id": 0}
    if config == "GPT2Config":
        small = {"vocab_size": 90, "n_embd": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.5}
    hf_model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, config)(**small | settings)).eval()
    head_bias = getattr(hf_model.get_output_embeddings(), "bias", None)
    if head_bias is not None:
        torch.nn.init.normal_(head_bias)
    parts = find_parts(hf_model)
    head = make_output_head(hf_model.config, parts)
    received = []
    hook = parts.final_norm.register_forward_pre_hook(lambda _module, args: received.append(args[0]))
    expected = own_logits(hf_model, [5, 6, 7])
    hook.remove()
    assert torch.allclose(head.logits(head.normed(received[0][0].detach())), expected, atol=1e-4)
    if settings:
        bare = dataclasses.replace(head, transform=OutputTransform())
        assert not torch.allclose(bare.logits(bare.normed(received[0][0].detach())), expected, atol=1e-2)


def test_half_precision_weights_are_raised_not_the_result_rounded():
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(1000, 32, generator=draw).bfloat16()
    rows = torch.randn(3, 32, generator=draw)
    head = OutputHead(torch.nn.Identity(), weight, None, OutputTransform())
    logits = head.logits(rows)
    assert logits.dtype == torch.float32
    assert torch.allclose(logits, rows @ weight.float().T, atol=1e-5)
    assert len(logits[0].unique()) > 990, "a bfloat16 product would tie"


def test_final_norm_is_a_float32_copy_and_the_unembedding_is_shared(fresh_parts):
    import layerwise as lw

    hf_model, hf_tokenizer = fresh_parts("qwen3")
    loaded = lw.load(hf_model.bfloat16(), tokenizer=hf_tokenizer)._loaded
    assert loaded.output_head.final_norm.weight.dtype == torch.float32
    assert hf_model.model.norm.weight.dtype == torch.bfloat16
    assert isinstance(loaded.output_head.weight, torch.Tensor)
    assert loaded.output_head.weight.data_ptr() == hf_model.lm_head.weight.data_ptr()


def test_a_head_moved_to_the_cpu_says_the_same(family):
    head = family._loaded.output_head
    states = torch.randn(2, 64, generator=torch.Generator().manual_seed(0))
    moved = head.on_cpu()
    assert torch.equal(moved.logits(moved.normed(states)), head.logits(head.normed(states)))
