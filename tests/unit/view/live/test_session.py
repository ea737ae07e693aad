"""What a session computes: layers as they come, one model at a time, a history; and how it stops."""

import pytest

from layerwise.errors import OfflineError, PromptError, PromptWarning
from layerwise.lenses.own import fitted_here
from layerwise.tracing.request import Request
from layerwise.view.document import trace_part, unpacked
from layerwise.view.live.asked import Asked, AskedError
from layerwise.view.live.session import Session
from tests.lenses import saved_lens

PROMPT = "The capital of Germany is"


class Ended(BaseException):
    pass


class Heard:
    """A listener that goes after so many calls."""

    def __init__(self, patience=None):
        self.messages, self.patience = [], patience

    def say(self, message):
        self.check()
        self.messages.append(message)

    def check(self):
        if self.patience is not None:
            self.patience -= 1
            if self.patience < 0:
                raise Ended


def session_of(*models):
    named = {str(index): model for index, model in enumerate(models)}
    return Session(models=list(named), load=lambda name, progress: named[name])


def asked(prompt=PROMPT, *, model="0", lens="logit", **more):
    return Asked(model, lens, Request(prompt, leaders=True, **more))


def test_a_trace_is_what_the_model_gives(tiny):
    told = session_of(tiny).trace(asked(answers=(" Berlin",), positions="all", lens="raw"), Heard())
    assert told == {"trace": trace_part(tiny.trace(PROMPT, " Berlin", positions="all", lens="raw"))}


def test_what_a_trace_notes_is_warned_of_as_after_the_model_s_own_trace(tiny):
    with pytest.warns(PromptWarning, match="ends in"):
        session_of(tiny).trace(asked(f"{PROMPT}\u00a0"), Heard())


def test_layers_come_before_the_trace_each_once_and_in_order(tiny):
    heard = Heard()
    session_of(tiny).trace(asked(positions="0,-1"), heard)
    layers = [message["layer"] for message in heard.messages if "layer" in message]
    trace = tiny.trace(PROMPT, positions="0,-1")
    assert [layer["index"] for layer in layers] == list(range(tiny.n_layers + 1))
    for index, layer in enumerate(layers):
        assert layer["n_layers"] == tiny.n_layers
        assert layer["positions"] == list(trace.positions)
        assert layer["tokens"] == [[token.id, token.text] for token in trace.tokens]
        for place, position in enumerate(trace.positions):
            [top, *_] = trace.top(index, position)
            told_id, told_text, told_prob = layer["top"][place][0]
            assert (told_id, told_text) == (top.id, top.text)
            assert told_prob == pytest.approx(top.prob, rel=1e-4)


@pytest.mark.parametrize("patience", range(1, 8))
def test_a_trace_that_was_stopped_leaves_the_model_as_it_was(fresh, patience):
    """Wherever it is stopped: within the checked first pass, between layers, in the readout."""
    model, untouched = fresh("gemma2"), fresh("gemma2")
    session = session_of(model)
    with pytest.raises(Ended):
        session.trace(asked(), Heard(patience))
    assert session.document["traces"] == []
    told = session.trace(asked(positions="all"), Heard())
    assert told == {"trace": trace_part(untouched.trace(PROMPT, positions="all"))}


def test_results_are_kept_for_a_page_that_is_opened_again(tiny):
    session = session_of(tiny)
    for prompt in ("One", "Two"):
        session.trace(asked(prompt), Heard())
    assert [trace["prompt"] for trace in session.document["traces"]] == ["One", "Two"]


def test_one_model_is_held_at_a_time_and_loaded_once_while_it_is(tiny):
    loads = []
    session = Session(models=["a", "b"], load=lambda name, progress: loads.append(name) or tiny)
    for name in ("a", "a", "b", "b", "a"):
        session.load(name, Heard())
    assert loads == ["a", "b", "a"]


def test_loading_tells_how_far_it_is(tiny):
    def load(name, progress):
        progress("Fetching", 1, 2)
        progress("Fetching", 2, 2)
        return tiny

    heard = Heard()
    told = Session(models=["a"], load=load).load("a", heard)
    assert heard.messages == [{"progress": ["loading a", 0, None]}, *({"progress": ["Fetching", n, 2]} for n in (1, 2))]
    assert told["loaded"]["n_layers"] == tiny.n_layers


def test_a_model_that_fails_to_load_is_an_error_and_others_still_can(tiny):
    def load(name, progress):
        if name == "absent":
            raise OfflineError("The hub could not be reached.")
        return tiny

    session = Session(models=["absent", "there"], load=load)
    for _ in range(2):
        with pytest.raises(OfflineError):
            session.load("absent", Heard())
    assert session.load("there", Heard())


@pytest.mark.parametrize(
    ("fields", "error", "said"),
    [
        ({"model": "/etc"}, AskedError, "no model of that name"),
        ({"lens": "tuned"}, AskedError, "no lens 'tuned' here. Choose logit or raw"),
        ({"lens": "tuned:/etc/passwd"}, AskedError, "no lens 'tuned:/etc/passwd' here"),
        ({"prompt": ""}, PromptError, "empty"),
        ({"prompt": "word " * 500}, PromptError, "Shorten the prompt"),
        ({"positions": "0:x"}, PromptError, "Positions"),
    ],
)
def test_what_cannot_be_traced_is_said(tiny, fields, error, said):
    with pytest.raises(error, match=said):
        session_of(tiny).trace(asked(**fields), Heard())


def test_no_model_is_loaded_for_a_lens_that_is_not_there(tiny):
    loads = []
    session = Session(models=["0"], load=lambda name, progress: loads.append(name) or tiny)
    with pytest.raises(AskedError, match="no lens 'tuned' here"):
        session.trace(asked(lens="tuned"), Heard())
    assert loads == []


def test_a_models_own_lenses_are_offered_and_read_through(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path))
    monkeypatch.setattr("layerwise.lenses.own.model_folder", lambda name: "0" if name != "1" else "1")
    saved_lens(fitted_here() / "0" / "ridge", tiny)
    session = session_of(tiny, tiny)
    assert session.choices["own_lenses"] == {"0": ["ridge"], "1": []}
    assert session.trace(asked(lens="ridge"), Heard())["trace"]["lens"] == "ridge"
    with pytest.raises(AskedError, match="no lens 'ridge' here"):
        session.trace(asked(lens="ridge", model="1"), Heard())


def test_without_live_controls_nothing_is_loaded():
    with pytest.raises(AskedError, match="--live"):
        Session().load("gemma-3-270m", Heard())


def test_traces_asked_together_are_the_model_s_and_not_kept(tiny):
    session = session_of(tiny)
    edit = "scale 'layer 2@1' factor=0.5"
    told = session.traces([asked(positions="all"), asked(positions="all", edits=(edit,))], Heard())
    parts = [trace_part(tiny.trace(PROMPT, positions="all", edits=edits)) for edits in ((), (edit,))]
    assert [part["edits"] for part in told["traces"]] == [[], [edit]]
    for found, wanted in zip(told["traces"], parts, strict=True):
        assert found["recipes"] == wanted["recipes"]
        layers = [unpacked(part["measures"]["residual_norm"]) for part in (found, wanted)]
        assert layers[0] == pytest.approx(layers[1], rel=1e-4)
    assert session.document["traces"] == []


def test_an_edit_names_no_lens_that_is_not_offered(tiny):
    loads = []
    session = Session(models=["0"], load=lambda name, progress: loads.append(name) or tiny)
    edit = "patch 'layer 2' of='layer 1' lens=jacobian:/etc/passwd"
    for ask in (lambda one: session.trace(one, Heard()), lambda one: session.traces([one], Heard())):
        with pytest.raises(AskedError, match="no lens 'jacobian:/etc/passwd' here"):
            ask(asked(edits=(edit,)))
    assert loads == []
