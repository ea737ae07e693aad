import gc
import signal
import weakref

import pytest

from layerwise.interrupts import collect_garbage


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
