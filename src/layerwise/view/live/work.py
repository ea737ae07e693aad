"""The one worker: computes one thing at a time, lets a few wait, and stops when nobody listens any more."""

import asyncio
import contextlib
import sys
import threading
import traceback
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from layerwise.errors import LayerwiseError
from layerwise.text import harmless

Message = dict[str, Any]


class Listener(Protocol):
    """Who asked for a work. Both end the work, from inside, where nobody listens any more."""

    def say(self, message: Message) -> None:
        """Send a message."""
        ...

    def check(self) -> None:
        """Send nothing."""
        ...


Work = Callable[[Listener], Message]
"""What is done for one request. Returns the last message."""

WAITING = 4
"""How many requests may wait for the one that is being worked on."""


class BusyError(LayerwiseError):
    """As many requests wait already as may."""


class _Stopped(BaseException):
    """Ends a work from inside its callbacks. No `Exception`: code between here and there may catch those."""


class Job:
    """One piece of work and the messages that come of it."""

    def __init__(self, work: Work, on_stop: Callable[["Job"], None]) -> None:
        self._work, self._on_stop = work, on_stop
        self._loop = asyncio.get_running_loop()
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue()
        self._stopped = threading.Event()

    async def messages(self) -> AsyncIterator[Message]:
        """Yield messages as they come, to the last."""
        while (message := await self._messages.get()) is not None:
            yield message

    def stop(self) -> None:
        """Have the work end at its next message, or never begin."""
        self._stopped.set()
        self._on_stop(self)

    def tell(self, message: Message | None) -> None:
        """Hand a message to the event loop; None is the end."""
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it all who listened
            self._loop.call_soon_threadsafe(self._messages.put_nowait, message)

    def run(self) -> None:
        """Do the work, in the worker's thread."""
        try:
            self.check()
            self.tell(self._work(self))
        except _Stopped:
            pass
        except LayerwiseError as error:
            self.tell({"error": str(error)})
        except Exception as error:  # one failed request must not end the server
            print(harmless(traceback.format_exc()), file=sys.stderr)
            self.tell({"error": f"layerwise itself failed ({type(error).__name__}). Its terminal shows where."})
        finally:
            self.tell(None)

    def say(self, message: Message) -> None:
        """Send a message from inside the work."""
        self.check()
        self.tell(message)

    def check(self) -> None:
        """End the work if nobody listens any more."""
        if self._stopped.is_set():
            raise _Stopped


class Worker:
    """Runs jobs in a thread of its own, one after another."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._current: Job | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="layerwise worker", daemon=True)
        self._thread.start()

    def submit(self, work: Work) -> Job:
        """Return the job that will do `work`. To be called in an event loop.

        Raises:
            BusyError: too many wait already.
        """
        job = Job(work, self._forget)
        with self._changed:
            ahead = len(self._waiting) + (self._current is not None)
            if ahead > WAITING:
                raise BusyError(
                    f"layerwise computes one thing at a time, and {WAITING} requests wait already. "
                    "Try again when one is done, or stop one."
                )
            if ahead:
                job.tell({"progress": [f"waiting for {ahead} before this", 0, None]})
            self._waiting.append(job)
            self._changed.notify()
        return job

    def close(self, patience: float = 10) -> None:
        """Stop everything; wait for the work under way to notice, for so many seconds at most."""
        with self._changed:
            self._closed = True
            jobs = [*self._waiting, *([self._current] if self._current else [])]
            self._changed.notify()
        for job in jobs:
            job.stop()
        self._thread.join(patience)

    def _forget(self, job: Job) -> None:
        """Take a job that has been stopped out of the queue."""
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
                job.tell(None)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                job = self._current = self._waiting.popleft()
            try:
                job.run()
            finally:
                with self._changed:
                    self._current = None
