"""Beginnings that sequences share, computed once: the same states, by another order of rounding."""

import pytest

from layerwise.capture import batches, sweep
from layerwise.capture.forward_pass import ForwardPass
from layerwise.capture.shared_beginnings import can_share, segment_cache
from layerwise.tracing.request import Request
from tests.sweeps import states_of

HEADER = tuple(range(20, 44))


def tree_of_sequences() -> list[ForwardPass]:
    """A header, prompts of several lengths after it, and after one of them several answers."""
    prompts = [HEADER + tail for tail in ((50,), (51, 52), (53, 54), (55, 56, 57), (58, 59, 60, 61))]
    answers = [prompts[-1] + tail for tail in ((70,), (71, 72), (73, 74))]
    many = prompts + answers + [(9, 8, 7)]
    return [ForwardPass(ids, tuple({0, len(ids) // 2, len(ids) - 1})) for ids in many]


def shared_and_alone(model, monkeypatch, least_saved=3):
    many = tree_of_sequences()
    monkeypatch.setattr(sweep, "_LEAST_SAVED", 10**9)
    alone = states_of(model._loaded, many)
    monkeypatch.setattr(sweep, "_LEAST_SAVED", least_saved)
    ran = []
    monkeypatch.setattr(batches, "record_block_calls", _counting(batches.record_block_calls, ran))
    return states_of(model._loaded, many), alone, sum(ran)


def _counting(original, ran):
    def counted(parts, ids, cache=None):
        ran.append(ids.numel())
        return original(parts, ids, cache)

    return counted


def close(shared, alone):
    return bool(((shared - alone).norm(dim=-1) <= 1e-5 * alone.norm(dim=-1)).all())


def test_states_of_every_family_are_those_of_sequences_alone(family, monkeypatch):
    shared, alone, tokens = shared_and_alone(family, monkeypatch)
    assert tokens < sum(len(sequence.ids) for sequence in tree_of_sequences()) / 3, "otherwise nothing was shared"
    assert close(shared, alone)


_OTHERS = [
    "Gemma3TextConfig",
    "MistralConfig",
    "GPT2Config",
    "BloomConfig",
    "FalconConfig",
    "MptConfig",
    "GPTNeoConfig",
    "OPTConfig",
    "Olmo2Config",
]


@pytest.mark.parametrize("config", _OTHERS)
def test_windows_and_positions_of_other_decoders_count_the_shared_tokens(config, decoder, monkeypatch):
    """Sliding windows shorter than the header, learned positions, ALiBi."""
    shared, alone, _ = shared_and_alone(decoder(config), monkeypatch)
    assert close(shared, alone)


def test_a_model_that_remembers_otherwise_shares_nothing(decoder, monkeypatch):
    model = decoder("MambaConfig")
    assert not can_share(model._loaded.parts, model._loaded.hf.config)
    _, _, tokens = shared_and_alone(model, monkeypatch)
    assert tokens >= sum(len(sequence.ids) for sequence in tree_of_sequences())


def test_batch_sizes_do_not_matter(tiny, monkeypatch):
    large, *_ = shared_and_alone(tiny, monkeypatch)
    monkeypatch.setattr(sweep, "_TOKENS_AT_ONCE", 1)
    monkeypatch.setattr(sweep, "_ATTENDED_AT_ONCE", 1)
    assert close(states_of(tiny._loaded, tree_of_sequences()), large)


def test_traces_with_a_common_header_pass_their_checks_and_equal_single_ones(tiny):
    header = "The capital of Germany is Berlin. The capital of France is Paris. " * 3
    requests = [
        Request(header + f"The capital of {name} is", answers=(" Berlin", " Paris"))
        for name in ("Italy", "Spain", "the Netherlands")
    ]
    together = [traces[0] for traces in tiny.trace_all(requests, check_length_groups=True)]
    for request, trace in zip(requests, together, strict=True):
        alone = tiny.trace(request.prompt, answer=request.answers)
        assert abs(trace.top_logprobs - alone.top_logprobs).max() < 1e-4
        assert abs(trace.answer_logprob - alone.answer_logprob).max() < 1e-4


def test_a_long_sequence_goes_through_in_pieces(tiny, monkeypatch):
    """Each piece attends to all before it; activations are those of one piece."""
    long = [ForwardPass(tuple(range(5, 105)), (0, 7, 49, 50, 99))]
    monkeypatch.setattr(sweep, "_TOKENS_AT_ONCE", 10**6)
    whole = states_of(tiny._loaded, long)
    monkeypatch.setattr(sweep, "_TOKENS_AT_ONCE", 7)
    ran = []
    monkeypatch.setattr(batches, "record_block_calls", _counting(batches.record_block_calls, ran))
    assert close(states_of(tiny._loaded, long), whole)
    assert max(ran) <= 7
    assert len(ran) == 15


def test_keys_and_values_are_dropped_once_every_child_has_had_them(tiny, monkeypatch):
    caches = []
    monkeypatch.setattr(sweep, "_LEAST_SAVED", 3)
    monkeypatch.setattr(batches, "segment_cache", lambda *args: caches.append(segment_cache(*args)) or caches[-1])
    states_of(tiny._loaded, tree_of_sequences())
    assert len(caches) > 3
    assert all(layer.keys is None and layer.values is None for cache in caches for layer in cache.layers)
