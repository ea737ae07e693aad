"""Edits along directions: tokens' under a lens, differences of prompts, numbers."""

import dataclasses

import numpy as np
import pytest
import torch

from layerwise import Model, Request, Trace
from layerwise.errors import EditError, LayerwiseError
from layerwise.interventions.along import Add, ProjectOut, vector_text
from layerwise.lenses.opening import open_lens
from layerwise.models.output_head.output_head import OutputHead, OutputTransform
from layerwise.tracing.prepared_request import prepare
from tests.lenses import saved_lens

PROMPT, OTHER, THIRD = "The capital of Germany is", "The colour of ripe limes is", "One two three"
LAYER, SITE = 2, "blocks.1.hook_resid_post"
TOKENS = (" a", " the")


@pytest.fixture(scope="module")
def model(tiny):
    return Model(tiny._loaded)


@pytest.fixture
def lens(model, tmp_path):
    return f"ridge:{saved_lens(tmp_path / 'lens', model)}"


def state(model, edits=(), site=SITE, prompt=PROMPT):
    return model.capture(prompt, site, edits=edits)[site]


def ids_of(model):
    return [model.tokenizer("x" + text)["input_ids"][-1] for text in TOKENS]


def rows_by_hand(hf, ids):
    """W_U's rows times the gain of an RMS norm, as transformers' own modules have them."""
    gain = hf.model.norm.weight
    return (hf.lm_head.weight[ids] * gain).detach().numpy()


@pytest.mark.parametrize("family", ["qwen3", "gemma2", "mistral"])
def test_a_token_s_vector_is_what_its_logit_is_the_product_with(load_family, family):
    """Of states whose norm divides by the same: differences of logits of transformers' own head are products."""
    loaded = load_family(family)._loaded
    head, ids = loaded.output_head, [3, 17, 40]
    states = torch.randn(6, head.weight.shape[1], generator=torch.Generator().manual_seed(0)) * 3
    with torch.no_grad():
        vectors = head.directions(ids)
        normed = head.final_norm(states)
        nothing = head.final_norm(torch.zeros_like(states))  # its bias
        own = loaded.hf.get_output_embeddings().weight.float()[ids]
    wanted, products = (normed - nothing) @ own.T, states @ vectors.T
    factor = wanted / products
    assert torch.allclose(factor, factor[:, :1].expand_as(factor), rtol=1e-3), "one divisor for all tokens of a state"
    assert (factor > 0).all()


def test_a_layer_norm_takes_the_mean_away_from_a_token_s_vector():
    norm, weight = torch.nn.LayerNorm(8), torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(-1, 2, 8))
        norm.bias.copy_(torch.linspace(3, 4, 8))
    rows = (weight * norm.weight).detach()
    wanted = rows - rows.mean(1, keepdim=True)
    found = OutputHead(norm.requires_grad_(False), weight, None, OutputTransform()).directions([4, 1])
    factor = found / wanted[[4, 1]]
    assert torch.allclose(factor, factor[0, 0].expand_as(factor), rtol=1e-3)
    assert factor[0, 0] == pytest.approx(1, rel=0.1)


def test_an_added_token_is_as_long_as_the_state(model):
    before, after = state(model), state(model, f"add layer {LAYER}@1: token=' a' strength=-0.5")
    [row] = rows_by_hand(model.hf, ids_of(model)[:1])
    wanted = before - 0.5 * np.linalg.norm(before, axis=-1, keepdims=True) * row / np.linalg.norm(row)
    assert np.allclose(after[1:], wanted[1:], rtol=1e-3, atol=1e-4)
    assert np.allclose(after[0], before[0], atol=1e-5)


def test_a_token_s_vector_goes_through_the_lens(model, lens):
    before, after = state(model), state(model, f"add layer {LAYER} token=' a' lens={lens}")
    matrix = open_lens(lens, model._loaded).translators[LAYER].whole().numpy()  # pyright: ignore[reportAttributeAccessIssue]
    row = rows_by_hand(model.hf, ids_of(model)[:1])[0] @ matrix
    wanted = before + np.linalg.norm(before, axis=-1, keepdims=True) * row / np.linalg.norm(row)
    assert np.allclose(after, wanted, rtol=1e-3, atol=1e-3)


def test_a_difference_of_means_has_its_own_length(model):
    edit = f"add layer {LAYER}@-1 toward='{OTHER}' toward='{THIRD}' away='{PROMPT}' at=1: strength=2"
    toward = np.concatenate([state(model, prompt=text)[1:] for text in (OTHER, THIRD)]).mean(0)
    wanted = state(model)[-1] + 2 * (toward - state(model)[1:].mean(0))
    assert np.allclose(state(model, edit)[-1], wanted, rtol=1e-4, atol=1e-4)


def test_given_numbers_are_added_as_they_are(model):
    vector = np.linspace(-1, 1, model.info.d_model)
    added = state(model, Add(f"layer {LAYER}", vector=(vector_text(vector),), strength=3)) - state(model)
    assert np.allclose(added, 3 * vector, atol=1e-4)


def test_of_what_is_projected_out_nothing_is_left(model):
    edit, others = f"project-out layer {LAYER} token=' a' token=' the'", rows_by_hand(model.hf, [5, 6, 7])
    before, after, rows = state(model), state(model, edit), rows_by_hand(model.hf, ids_of(model))
    assert np.abs(after @ rows.T).max() < 1e-3 * np.abs(before @ rows.T).max()
    basis = np.linalg.qr(rows.T)[0]
    apart = others - others @ basis @ basis.T
    assert np.allclose(after @ apart.T, before @ apart.T, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("fitted", [False, True])
def test_exchanged_readings_are_the_other_token_s(model, lens, fitted):
    """The lens's own readings, of the trace: their difference changes its sign, whatever the norm divides by."""
    named = lens if fitted else "logit"
    edit = f"exchange layer {LAYER}@-1 token=' a' token=' the' lens={named}"
    before, after = (model.trace(PROMPT, track=TOKENS, lens=named, edits=each) for each in ((), edit))

    def difference(trace):
        first, second = (each.logprob[LAYER, -1] for each in trace.tracked)
        return float(first - second)

    lengths = [np.linalg.norm(_translated(model, named, edits)) for edits in ((), edit)]
    assert difference(after) * lengths[1] == pytest.approx(-difference(before) * lengths[0], rel=1e-3)
    assert abs(difference(before)) > 1e-3


def _translated(model, named, edits):
    values = torch.from_numpy(state(model, edits)[-1])
    if named == "logit":
        return values
    return open_lens(named, model._loaded).translators[LAYER].apply(values)  # pyright: ignore[reportAttributeAccessIssue]


def test_a_lens_s_reading_can_be_what_the_model_goes_on_with(model, lens):
    """At the last layer the output is what the lens read."""
    edit = f"patch layer {model.n_layers}@-1 of='layer {LAYER}' lens={lens}"
    read = model.trace(PROMPT, lens=lens)
    edited = model.trace(PROMPT, edits=edit)
    assert edited.entropy_bits[-1, -1] == pytest.approx(read.entropy_bits[LAYER, -1], abs=1e-3)
    assert edited.top_ids[-1, -1, 0] == read.top_ids[LAYER, -1, 0]


def test_a_trace_tells_the_sum_of_the_lens_that_its_edit_went_by(model, lens, tmp_path):
    trace = model.trace(PROMPT, edits=f"add layer {LAYER} token=' a' lens={lens}")
    [edit] = trace.edits
    whole = open_lens(lens, model._loaded).spec.sum or ""
    assert f"sum={whole[:16]}" in edit
    trace.save(tmp_path / "trace.json")
    again = model.trace(PROMPT, edits=Trace.open(tmp_path / "trace.json").edits)
    assert again.edits == trace.edits
    saved_lens(tmp_path / "lens", model, seed=1)
    with pytest.raises(EditError, match="was fitted again"):
        model.trace(PROMPT, edits=edit)


def test_a_vector_can_be_added_to_a_head(model):
    site = "blocks.1.attn.hook_z[1]"
    before, other, third = (state(model, site=site, prompt=text) for text in (PROMPT, OTHER, THIRD))
    found = state(model, f"add {site}@2 toward='{OTHER}' away='{THIRD}'", site)
    assert np.allclose(found[2] - before[2], other[-1] - third[-1], atol=1e-4)


def test_streamed_and_in_memory_go_along_the_same(load_family, family_folder):
    import layerwise as lw
    from benchmarks.tiny import always_streamed

    with always_streamed():
        streamed = lw.load(family_folder("qwen3"), device="cpu")
    edit = "exchange layer 2 token=' a' token=' the'"
    ids = (5, 9, 31, 44)
    traces = [each.trace(ids, edits=_with_ids(each, edit)) for each in (load_family("qwen3"), streamed)]
    assert np.allclose(traces[0].residual_norm, traces[1].residual_norm, rtol=1e-3)


def _with_ids(model, edit):
    """Replace texts by two that are single tokens here."""
    texts = [model._loaded.tokenizer.text_of(each) for each in range(30, 60)]
    single = [text for text in texts if model.refusal(Request((5,), track=(text,))) is None]
    return edit.replace("' a'", repr(single[0])).replace("' the'", repr(single[1]))


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ("add layer 2 token=' colourless'", "is not one token here but"),
        ("add blocks.1.attn.hook_q token=' a'", "A lens reads the residual stream"),
        ("add blocks.1.mlp.hook_post token=' a'", "it reads nothing of blocks.1.mlp.hook_post"),
        ("add layer 2 vector=AACAPwAAAMA=", r"the vector has\s+\[2\]"),
        ("project-out layer 2 vector=AAAAAA==", "the directions given are zero"),
        ("exchange layer 2 token=' a' token=' a'", "point the same way"),
        ("add layer 2 token=' a' lens=sideways", "Unknown"),
        ("add layer 2 token=' a' lens=ridge:/nowhere", "nowhere"),
        (f"project-out blocks.1.attn.hook_z toward='{OTHER}' away='{THIRD}'", "several heads"),
        (f"add pattern toward='{OTHER}' away='{THIRD}'", "Cut edges instead"),
        (f"patch layer 2 source='{OTHER}' at=0 of=blocks.1.attn.hook_z lens=ridge", "."),
    ],
)
def test_what_goes_along_no_direction_is_refused(model, edit, said):
    with pytest.raises(LayerwiseError, match=said):
        model.trace(PROMPT, edits=edit)


def test_a_lens_without_the_layer_is_refused(model, lens):
    opened = open_lens(lens, model._loaded)
    del opened.translators[LAYER]  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(EditError, match=f"nothing fitted for layer {LAYER}"):
        model.trace(PROMPT, edits=f"add layer {LAYER} token=' a' lens={lens}")


@pytest.mark.parametrize("along", ["token=' a'", f"toward='{OTHER}' away='{THIRD}'"])
def test_a_placebo_goes_as_far_in_another_direction(model, along):
    clean = state(model)
    moved, placebo, other = (
        state(model, f"add layer {LAYER}@-1 {along} strength=2{more}")[-1] - clean[-1]
        for more in ("", " placebo=1", " placebo=2")
    )
    lengths = [np.linalg.norm(each) for each in (moved, placebo, other)]
    assert np.allclose(lengths, lengths[0], rtol=1e-3)
    for first, second in ((moved, placebo), (moved, other), (placebo, other)):
        assert abs(first @ second) < 0.5 * lengths[0] ** 2


def test_zero_strength_is_no_edit(model):
    clean = state(model)
    for edit in ("token=' a'", f"toward='{OTHER}' away='{THIRD}'"):
        assert np.allclose(state(model, f"add layer {LAYER} {edit} strength=0"), clean, atol=1e-6)


def test_a_request_keeps_its_edits_as_they_were_asked_for(model):
    asked = Request(PROMPT, edits=("add layer 2 token=' a'",))
    assert prepare(model._loaded, asked).request == dataclasses.replace(asked, edits=asked.edits)
    assert ProjectOut("layer 2", token=(" a",)).operation == "project-out"
