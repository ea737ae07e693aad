"""Interrupts (Ctrl-C) that come at a bad moment."""

import _thread
import contextlib
import gc
import signal
import sys
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def interrupts_waiting() -> Iterator[None]:
    """Let an interrupt that comes during the block be raised at its end.

    Python raises interrupts in the main thread alone: in any other there is nothing to do. An
    interrupt whose handler was not set by Python (`signal.getsignal` is None) cannot be put back.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or handler is None:
        yield
        return
    came = False

    def note(*_: object) -> None:
        nonlocal came
        came = True

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)


def collect_garbage() -> None:
    """Free what nothing refers to any more: models above all, whose parts refer to one another.

    Left to itself, Python does so at any moment, for half a second with a model in it, and loses an interrupt that
    comes meanwhile: it is raised in a callback of something that is freed, where exceptions go unheard.
    """
    with interrupts_waiting():
        gc.collect()


_AGAIN_AFTER = 0.05
"""Seconds after which an interrupt that went unheard is sent again: what was running must have ended by then."""


@contextlib.contextmanager
def interrupts_heard() -> Iterator[None]:
    """Send an interrupt again, during the block, that was raised where Python lets no exception out.

    Such places are callbacks of what is freed (a library's dictionary of weak references, `__del__`): Python prints
    "Exception ignored in …" and goes on as if nothing had been asked.
    """
    before = sys.unraisablehook
    waiting: list[threading.Timer] = []

    def hear(unraisable: "sys.UnraisableHookArgs") -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            before(unraisable)
            return
        again = threading.Timer(_AGAIN_AFTER, _thread.interrupt_main)  # sent at once, it would be raised in here
        again.daemon = True
        waiting.append(again)
        again.start()

    sys.unraisablehook = hear
    try:
        yield
    finally:
        sys.unraisablehook = before
        for again in waiting:
            again.cancel()
