import numpy as np
import pytest

from layerwise.errors import PromptError
from layerwise.tracing.request import Request

PROMPT = "The capital of Germany is"


@pytest.fixture(scope="module")
def trace(tiny):
    return tiny.trace(
        PROMPT, answer=(" Berlin", " Rome"), track=(" the", " Paris"), positions="0,2", top_k=3, temperatures=(0.5, 2.0)
    )  # fmt: skip


def test_shapes_follow_layer_position_rank(trace):
    assert trace.n_layers == 4
    assert trace.positions == (0, 2, 4)
    assert trace.top_ids.shape == trace.top_logprobs.shape == (5, 3, 3)
    for name in ("entropy_bits", "kl_to_final_bits", "kl_from_final_bits", "total_variation", "echo_mass"):
        assert getattr(trace, name).shape == (5, 3)
    assert trace.residual_norm.shape == trace.cosine_to_final.shape == (5, 3)
    assert [t.logprob.shape for t in trace.tracked] == [(5, 3)] * 2
    assert trace.answer.prob.shape == trace.answer.rank.shape == (5,)


def test_depth_runs_from_nothing_to_all(trace):
    assert trace.depth.tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_top_reads_one_layer_at_one_position(trace):
    assert trace.top() == trace.top(4) == trace.top(-1, 4) == trace.top(4, -1)
    first = trace.top(1, 2)
    assert [t.id for t in first] == trace.top_ids[1, 1].tolist()
    assert first[0].prob == pytest.approx(np.exp(first[0].logprob))
    assert [t.prob for t in first] == sorted((t.prob for t in first), reverse=True)


@pytest.mark.parametrize("layer", [5, -6, 99])
def test_a_layer_that_does_not_exist_is_refused(trace, layer):
    with pytest.raises(PromptError, match=r"has layers 0 to 4"):
        trace.top(layer)


def test_a_position_that_was_not_kept_is_refused(trace):
    with pytest.raises(PromptError, match=r"Position 1 was not kept: this trace holds 0, 2, 4"):
        trace.top(1, 1)


def test_answer_shortcuts(trace):
    assert trace.answer_rank is trace.answer.rank
    assert trace.answer_prob is trace.answer.prob
    assert trace.answer_logprob is trace.answer.logprob


@pytest.mark.parametrize("name", ["answer_rank", "answer_prob", "answer_logprob"])
def test_answer_shortcuts_without_an_answer_say_what_to_do(tiny, name):
    with pytest.raises(PromptError, match=r"Trace again with answer="):
        getattr(tiny.trace(PROMPT), name)


def test_a_trace_without_answer_and_tracked_tokens(tiny):
    plain = tiny.trace(PROMPT)
    assert plain.answer is None
    assert plain.tracked == ()
    assert plain.milestones.settled_top1 is None


def test_milestones_are_read_at_the_prompts_last_position(trace):
    within = trace.kl_from_final_bits[:, 2] <= 1
    assert trace.milestones.settled_kl_1bit == 5 - int(np.argmin([*within[::-1], False]))


def test_output_is_the_models_own_likeliest(trace):
    assert [t.id for t in trace.output] == trace.top_ids[-1, -1].tolist()
    assert [t.prob for t in trace.output] == pytest.approx([t.prob for t in trace.top()], abs=1e-5)


def test_temperatures_sharpen_and_flatten_the_output(trace):
    (cold, sharp), (hot, flat) = trace.temperatures
    assert (cold, hot) == (0.5, 2.0)
    assert [t.id for t in sharp] == [t.id for t in flat] == [t.id for t in trace.output]
    assert sharp[0].prob > trace.output[0].prob > flat[0].prob
    gap = trace.output[0].logprob - trace.output[1].logprob
    assert sharp[0].logprob - sharp[1].logprob == pytest.approx(2 * gap, rel=1e-3)


def test_repr_names_model_prompt_and_answer(trace):
    assert repr(trace) == (
        "Trace('Qwen3ForCausalLM', 'The capital of Germany is', lens='logit', layers=0…4, answer=' Berlin')"
    )


def test_traces_are_equal_by_content_and_not_hashable(tiny, trace):
    assert tiny.trace(PROMPT) == tiny.trace(PROMPT)
    assert tiny.trace(PROMPT) != trace
    assert trace != "a trace"
    with pytest.raises(TypeError):
        hash(trace)


def test_generated_tokens_follow_the_prompts(tiny):
    going = tiny.trace(PROMPT, generate=3)
    assert len(going.generated) == 3
    assert going.positions == (4, 5, 6)
    assert going.last == 0
    assert [going.top(-1, p)[0].id for p in going.positions] == [t.id for t in going.generated]


def test_frame_has_a_row_per_layer_and_position(trace):
    frame = trace.to_frame()
    assert len(frame) == 5 * 3
    assert frame["layer"].tolist() == sorted([0, 1, 2, 3, 4] * 3)
    assert frame["position"].tolist() == [0, 2, 4] * 5
    assert frame["token"].tolist()[:3] == ["The", " of", " is"]
    assert frame["top_id"].tolist() == trace.top_ids[..., 0].ravel().tolist()
    assert frame["entropy_bits"].tolist() == trace.entropy_bits.ravel().tolist()
    at_answer = frame[frame["position"] == 4]
    assert at_answer["answer_prob"].to_numpy() == pytest.approx(trace.answer.prob)
    assert at_answer["answer_rank"].tolist() == trace.answer.rank.tolist()
    assert frame[frame["position"] != 4]["answer_prob"].isna().all()
    assert frame["prob  Paris"].to_numpy() == pytest.approx(np.exp(trace.tracked[1].logprob).ravel())
    assert frame["rank  the"].tolist() == trace.tracked[0].rank.ravel().tolist()


@pytest.mark.filterwarnings("ignore::layerwise.errors.PromptWarning")
def test_notebook_display_lets_no_markup_of_a_prompt_through(tiny):
    shown = tiny.trace("<script>alert(1)</script> \u202e", positions="all")._repr_mimebundle_()[0]["text/html"]
    assert "<script" not in shown
    assert "\u202e" not in shown
    assert "Qwen3ForCausalLM" in shown


def test_leaders_are_all_tokens_that_lead_somewhere_and_the_answers(trace):
    answers = [answer.deciding_token.id for answer in trace.answer.answers]
    assert len(trace.leaders) == len(trace.positions)
    for place, leaders in enumerate(trace.leaders):
        leading = list(dict.fromkeys(trace.top_ids[:, place, 0].tolist()))
        assert list(leaders.ids) == list(dict.fromkeys([*leading, *answers]))
        assert leaders.logprobs.shape == (5, len(leaders.ids))
        assert set(leaders.ids) <= trace.texts.keys()
        for layer in range(5):
            column = leaders.ids.index(trace.top_ids[layer, place, 0])
            assert leaders.logprobs[layer, column] == trace.top_logprobs[layer, place, 0]


def test_a_leaders_curve_is_what_tracking_it_gives(tiny, trace):
    place = trace.positions.index(2)
    leaders = trace.leaders[place]
    tracked = tiny.trace(PROMPT, track=(" Berlin", " Rome"), positions="2").tracked
    for token in tracked:
        column = leaders.ids.index(token.token.id)
        np.testing.assert_allclose(leaders.logprobs[:, column], token.logprob[:, 0], atol=1e-6)


def test_each_lens_has_its_own_leaders(tiny):
    [[logit, raw]] = tiny.trace_all([Request(PROMPT, leaders=True)], lenses=("logit", "raw"))
    for trace in (logit, raw):
        assert set(trace.leaders[0].ids) == set(trace.top_ids[:, 0, 0].tolist())
    assert logit.leaders[0].ids != raw.leaders[0].ids


def test_leaders_are_kept_only_where_asked_for(tiny):
    [[trace]] = tiny.trace_all([Request(PROMPT)])
    assert trace.leaders is None


@pytest.mark.parametrize("lens", ["logit", "raw"])
def test_layers_are_shown_early_as_they_are_in_the_trace(tiny, lens):
    shown = []
    trace = tiny.trace(PROMPT, lens=lens, positions="1,-1", top_k=3, generate=2, on_layer=shown.append)
    assert [read.layer for read in shown] == list(range(trace.n_layers + 1))
    for read in shown:
        assert read.n_layers == trace.n_layers
        assert read.tokens == trace.tokens + trace.generated
        assert read.positions == trace.positions
        for position, top in zip(read.positions, read.top, strict=True):
            late = trace.top(read.layer, position - len(trace.tokens) if position < len(trace.tokens) else position)
            slack = rounding(tiny, trace, read.layer, position)
            assert [t.logprob for t in top] == pytest.approx([t.logprob for t in late], abs=slack)
            # In the same order, but for those that rounding may have put into another.
            found = {t.id: t.logprob for t in late}
            assert all(t.logprob == pytest.approx(found.get(t.id, late[-1].logprob), abs=slack) for t in top)


def rounding(model, trace, layer, position) -> float:
    """Return how far two readouts of one state may differ that take other numbers of rows at once.

    Then the sums after the logits run in another order: a sum of n products h·w is off by at most n·ε·‖h‖·‖w‖, and
    a log-probability by that of its logit and that of the normaliser, which is no larger.
    """
    head = model._loaded.hf.get_output_embeddings().weight
    longest = float(head.detach().norm(dim=1).max())
    place = trace.positions.index(position)
    gain = float(model._loaded.hf.get_decoder().norm.weight.detach().abs().max())
    width = trace.model.d_model
    norm = float(trace.residual_norm[layer, place]) if trace.lens == "raw" else gain * width**0.5
    return 2 * width * float(np.finfo(np.float32).eps) * norm * longest


def test_what_early_layers_are_shown_to_can_stop_the_work(tiny):
    class Enough(Exception):
        pass

    seen = []

    def stop(read):
        seen.append(read.layer)
        if read.layer == 2:
            raise Enough

    with pytest.raises(Enough):
        tiny.trace(PROMPT, on_layer=stop)
    assert seen == [0, 1, 2]
    assert tiny.trace(PROMPT).n_layers == 4, "the model is as it was"


def test_nothing_asked_is_nothing_traced(tiny):
    assert tiny.trace_all([]) == []
