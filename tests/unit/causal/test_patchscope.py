"""Patchscopes: each state is the same edit alone, and what hooks by hand on transformers' own modules give."""

import json

import numpy as np
import pytest
import torch

import layerwise as lw
from benchmarks.tiny import always_streamed
from layerwise.causal.patchscope import patchscope
from layerwise.errors import EditError, LayerwiseError, PromptError

PROMPT, TARGET = "The capital of Germany is", "Paris is in France, Rome is in X and"


@pytest.mark.parametrize("to_layers", ["same", "0:4"])
def test_a_state_is_the_same_edit_alone(family, to_layers):
    found = patchscope(family, PROMPT, "Germany", target=TARGET, at="X", to_layers=to_layers, answer=(30,))
    assert len(found.states) == (4 if to_layers == "same" else 5 * 4)
    whole = {"top_k": family.info.vocab_size}
    for each in found.states:
        for said, edit in ((each.said, str(each.edit)), (each.elsewhere, _elsewhere(each.edit, found))):
            alone = family.trace(TARGET, edits=edit, **whole)
            assert said is not None
            logprobs = dict(zip(alone.top_ids[-1, -1].tolist(), alone.top_logprobs[-1, -1].tolist(), strict=True))
            assert said.answer_logprob == pytest.approx(logprobs[30], abs=2e-3)
            assert said.top[0].logprob == pytest.approx(alone.top_logprobs[-1, -1, 0], abs=2e-3)


def _elsewhere(edit, found):
    assert f"at={edit.at}" in str(edit)
    return str(edit).replace(f" at={edit.at}", f" at={found.elsewhere}")


@pytest.mark.parametrize("name", ["qwen3", "gemma2"])
def test_a_state_is_put_as_hooks_put_it(load_family, name):
    model = load_family(name)
    found = patchscope(model, PROMPT, "Germany", target=TARGET, at="X", layers="0:4", to_layers="0:4", answer=(30,))
    hf, ids = model.hf, [torch.tensor([model.tokenizer(text)["input_ids"]]) for text in (PROMPT, TARGET)]
    with torch.no_grad():
        states = hf(input_ids=ids[0], use_cache=False, output_hidden_states=True).hidden_states
        for each in found.states:

            def put(_module, args, state=states[each.layer][0, found.position]):
                hidden = args[0].clone()
                hidden[0, found.at] = state
                return (hidden, *args[1:])

            hook = hf.model.layers[each.to_layer].register_forward_pre_hook(put)
            logprobs = hf(input_ids=ids[1], use_cache=False).logits[0, -1].double().log_softmax(-1)
            hook.remove()
            assert each.said.answer_logprob == pytest.approx(float(logprobs[30]), abs=2e-3)
            likeliest = logprobs.topk(5)
            assert [top.logprob for top in each.said.top] == pytest.approx(likeliest.values.tolist(), abs=2e-3)


def test_what_is_put_at_the_last_layer_is_read_as_a_lens_reads_it(family):
    found = patchscope(family, PROMPT, target=TARGET, at="last", to_layers=str(family.n_layers), answer=(30,))
    lens = family.trace(PROMPT, (30,))
    assert [each.layer for each in found.states] == [*range(family.n_layers + 1)]
    for each in found.states:
        assert each.said.answer_logprob == pytest.approx(lens.answer_logprob[each.layer], abs=2e-3)


def test_a_prompt_s_own_states_change_nothing(tiny):
    found = patchscope(tiny, PROMPT, 2, target=PROMPT, at=2, answer=(30,))
    for each in found.states:
        assert each.said.answer_logprob == pytest.approx(found.unpatched.answer_logprob, abs=1e-3)
        assert each.random.answer_logprob != pytest.approx(found.unpatched.answer_logprob, abs=1e-2)


def test_a_placebo_is_of_another_position_or_in_a_random_direction(tiny):
    asked = {"target": TARGET, "at": "X", "answer": (30,)}
    found, again, other = (patchscope(tiny, PROMPT, "Germany", seed=seed, **asked) for seed in (0, 0, 1))
    assert found.elsewhere not in (None, 0, found.position)
    assert [each.random.answer_logprob for each in found.states] == pytest.approx(
        [each.random.answer_logprob for each in again.states], abs=1e-4
    )
    for each, differently in zip(found.states, other.states, strict=True):
        assert each.random.answer_logprob != pytest.approx(differently.random.answer_logprob, abs=1e-3)
        assert each.said == differently.said
    short = patchscope(tiny, "Germany", target=TARGET, at="X")
    assert short.elsewhere is None
    assert all(each.elsewhere is None for each in short.states)


def test_what_is_generated_is_what_a_trace_generates_under_the_edit(tiny):
    found = patchscope(tiny, PROMPT, "Germany", target=TARGET, at="X", layers="1:3", generate=3)
    for each in found.states:
        alone = tiny.trace(TARGET, generate=3, edits=str(each.edit))
        assert each.generated == tiny.tokenizer.decode([token.id for token in alone.generated])
    assert patchscope(tiny, PROMPT, target=TARGET, at="X").states[0].generated is None


def test_a_streamed_model_s_states_are_the_resident_one_s(family_folder, load_family):
    with always_streamed():
        streamed = lw.load(family_folder("qwen3"), device="cpu")
    found = [
        patchscope(model, PROMPT, target=TARGET, at="X", answer=(30,)) for model in (load_family("qwen3"), streamed)
    ]
    for resident, other in zip(found[0].states, found[1].states, strict=True):
        assert resident.said.answer_logprob == pytest.approx(other.said.answer_logprob, abs=1e-2)


@pytest.mark.parametrize("to_layers", ["same", "all"])
def test_what_is_stored_is_json_and_what_is_shown_is_a_frame_and_a_figure(tiny, tmp_path, to_layers):
    found = patchscope(tiny, PROMPT, target=TARGET, at="X", to_layers=to_layers, answer=(30,), top_k=2)
    assert found.is_grid == (to_layers == "all")
    found.save(tmp_path / "found.json")
    stored = json.loads((tmp_path / "found.json").read_text())
    assert stored == json.loads(json.dumps(found.to_json()))
    assert stored["states"][1]["edit"] == str(found.states[1].edit)
    assert len(stored["states"][0]["said"]["top"]) == 2
    frame = found.to_frame()
    assert len(frame) == len(found.states)
    assert {"layer", "to_layer", "token", "prob", "answer_rank", "elsewhere_token", "random_prob"} <= {*frame.columns}
    assert np.isfinite(frame["answer_logprob"]).all()
    found.write_figures(tmp_path)
    assert (tmp_path / "patchscope.png").exists()
    with pytest.raises(PromptError, match="layer 0 was not put at layer 99"):
        found.state(0, 99)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"at": "Y"}, "'Y', the span 'at', stands nowhere"),
        ({"at": "is"}, "'at', stands 3 times"),
        ({"position": "Spain"}, "the span 'position', stands nowhere"),
        ({"position": 77}, "names none of this prompt's 5 tokens"),
        ({"layers": "9"}, "'9' are none of this model's, 0 to 4"),
        ({"to_layers": "up"}, "'up' are none of this model's"),
        ({"generate": -1}, "generate at least 0"),
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"prompt": ""}, "The prompt is empty"),
    ],
)
def test_what_cannot_be_read_is_refused(tiny, asked, said):
    with pytest.raises(LayerwiseError, match=said):
        patchscope(tiny, **{"prompt": PROMPT, "target": TARGET, "at": "X", **asked})


@pytest.mark.parametrize("asked", [{"to_layers": "4"}, {"layers": "4"}])
def test_a_state_that_nothing_reads_is_refused(tiny, asked):
    with pytest.raises(EditError, match="read at the target's last position only"):
        patchscope(tiny, PROMPT, target=TARGET, at="X", **asked)
