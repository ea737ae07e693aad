import gc
import signal
import time
import weakref

import pytest

from layerwise.interrupts import collect_garbage, interrupts_heard


class Part:
    """Refers to itself, as a model's parts refer to one another."""

    def __init__(self):
        self.whole = self


@pytest.fixture
def interrupted_while_freed():
    """A weak reference whose object is garbage, and whose callback is where an interrupt comes."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.disable()
    part = Part()
    found = weakref.ref(part, lambda _: signal.raise_signal(signal.SIGINT))
    del part
    yield found
    gc.enable()
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_that_comes_while_garbage_is_freed_is_not_lost(interrupted_while_freed):
    with pytest.raises(KeyboardInterrupt):
        collect_garbage()
    assert interrupted_while_freed() is None


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_a_library_loses_is_sent_again(interrupted_while_freed):
    with pytest.raises(KeyboardInterrupt), interrupts_heard():
        gc.collect()
        assert interrupted_while_freed() is None, "the interrupt was raised, and not here"
        for _ in range(600):
            time.sleep(0.1)


def test_what_else_goes_unheard_is_told_as_before(monkeypatch):
    told = []
    monkeypatch.setattr("sys.unraisablehook", lambda unraisable: told.append(unraisable.exc_type))
    part = Part()
    found = weakref.ref(part, lambda _: 1 / 0)
    del part
    with interrupts_heard():
        gc.collect()
    assert found() is None
    assert told == [ZeroDivisionError]
