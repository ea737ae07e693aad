"""The command line: arguments in, printing out."""

_INTERRUPTED = 130
"""The exit code of what Ctrl-C ended."""


def main() -> None:
    """Run the `layerwise` command. Ctrl-C ends it without a traceback at any moment, and with the same exit code."""
    try:
        with _quiet_end():
            from layerwise.cli.app import run_app
            from layerwise.interrupts import interrupts_heard
        with interrupts_heard():
            run_app()  # puts the commands together before one of them begins
    except KeyboardInterrupt:
        _forget_interrupt()
        raise SystemExit(_INTERRUPTED) from None
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            _forget_interrupt()
        raise


def _forget_interrupt() -> None:
    """Have CPython end with the exit code: it remembers an interrupt that left an `exec`, and would end by the signal.

    Importing a model's dataclasses runs many. The next `exec` forgets it.
    """
    exec("")


class _quiet_end:  # noqa: N801 - and no generator: `contextlib` would have to be imported first
    """Let Ctrl-C end the process at once during the block, where nothing has been begun yet.

    An exception would not do: raised inside an import, it may be printed and forgotten, or come out as another one.
    Where Ctrl-C is ignored, as of what a shell runs in the background, it stays so.
    """

    def __enter__(self) -> None:
        import signal

        self._before = signal.getsignal(signal.SIGINT)
        if self._before is signal.default_int_handler:
            signal.signal(signal.SIGINT, _end)

    def __exit__(self, *_: object) -> None:
        import signal

        if signal.getsignal(signal.SIGINT) is _end:
            signal.signal(signal.SIGINT, self._before)


def _end(*_: object) -> None:
    import os

    os._exit(_INTERRUPTED)
