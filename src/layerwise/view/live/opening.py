"""Opening the viewer's page in a browser, without its address in any command line.

Every user of the machine can read the command lines of all processes (`ps`), and whoever has the address may use the
viewer. So the browser is started with a file that only its user can read, and the file leads to the address.
"""

import contextlib
import html
import os
import signal
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def opened_in_browser(url: str) -> Iterator[None]:
    """Open an address in the browser; the file that leads there is kept until the block ends.

    Some browsers are waited for until they end (one in the terminal, a command in ``$BROWSER``), and the page is served
    in the block: so a thread of its own waits.
    """
    with (
        _ended_in_order(),
        tempfile.TemporaryDirectory(prefix="layerwise-view-", ignore_cleanup_errors=True) as folder,  # mode 0700
    ):
        page = Path(folder) / "open.html"
        with os.fdopen(os.open(page, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(_leading_to(url))
        threading.Thread(target=webbrowser.open, args=(page.as_uri(),), daemon=True).start()
        yield


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
    """Let `kill`, or the terminal that is closed, end the block as an exception does, so that no file stays behind."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)  # as a shell says it

    in_main_thread = threading.current_thread() is threading.main_thread()  # which alone may set them
    known = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if in_main_thread and hasattr(signal, name)]
    signals = [each for each in known if signal.getsignal(each) is signal.SIG_DFL]  # nohup has one ignored
    for each in signals:
        signal.signal(each, end)
    try:
        yield
    finally:
        for each in signals:
            signal.signal(each, signal.SIG_DFL)


def _leading_to(url: str) -> str:
    address = html.escape(url, quote=True)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>layerwise</title>\n'
        '<meta name="referrer" content="no-referrer">\n'
        f'<meta http-equiv="refresh" content="0; url={address}"></head>\n'
        f'<body><a href="{address}">Open the viewer</a></body></html>\n'
    )
