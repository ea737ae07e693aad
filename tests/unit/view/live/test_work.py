"""One thing at a time; a few wait; what nobody listens to ends."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from layerwise.errors import PromptError
from layerwise.view.live.work import WAITING, BusyError, Worker


@pytest.fixture
def worker():
    worker = Worker()
    yield worker
    worker.close()
    assert not worker._thread.is_alive()


def run(coroutine):
    """Run a coroutine in a thread of its own: a browser that other tests have open keeps a loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, asyncio.wait_for(coroutine, 20)).result()


async def messages(job):
    return [message async for message in job.messages()]


def test_messages_come_in_order_and_the_result_last(worker):
    def work(listener):
        listener.say({"n": 1})
        listener.say({"n": 2})
        return {"n": 3}

    async def main():
        return await messages(worker.submit(work))

    assert run(main()) == [{"n": 1}, {"n": 2}, {"n": 3}]


def test_works_never_overlap(worker):
    busy, seen = threading.Lock(), []

    def work(listener):
        seen.append(busy.acquire(blocking=False))
        time.sleep(0.005)
        busy.release()
        return {}

    async def main():
        await asyncio.gather(*(messages(worker.submit(work)) for _ in range(WAITING)))

    run(main())
    assert seen == [True] * WAITING


def test_beyond_those_that_may_wait_nothing_is_taken_and_later_again(worker):
    gate = threading.Event()

    def work(listener):
        gate.wait(20)
        return {"done": True}

    async def main():
        jobs = [worker.submit(work) for _ in range(WAITING + 1)]
        with pytest.raises(BusyError, match="Try again"):
            worker.submit(work)
        gate.set()
        results = [await messages(job) for job in jobs]
        again = await messages(worker.submit(work))
        return results, again

    results, again = run(main())
    assert [result[-1] for result in results] == [{"done": True}] * (WAITING + 1)
    assert results[2][0] == {"progress": ["waiting for 2 before this", 0, None]}
    assert again[-1] == {"done": True}


def test_a_stopped_job_ends_at_its_next_message(worker):
    said, go_on, ended = threading.Event(), threading.Event(), []

    def work(listener):
        try:
            for n in range(100):
                ended.append(n)
                listener.say({"n": n})
                said.set()
                go_on.wait(20)
        except Exception:  # what lies between must not be able to swallow it
            ended.append("swallowed")
        return {}

    async def main():
        job = worker.submit(work)
        await asyncio.to_thread(said.wait, 20)
        job.stop()
        go_on.set()
        return await messages(job)

    assert run(main()) == [{"n": 0}]
    assert ended == [0, 1]


def test_a_stopped_job_that_waits_never_begins_and_makes_room(worker):
    gate, begun = threading.Event(), []

    def first(listener):
        gate.wait(20)
        return {}

    def second(listener):
        begun.append(True)
        return {}

    async def main():
        jobs = [worker.submit(first), *(worker.submit(second) for _ in range(WAITING))]
        for job in jobs[1:]:
            job.stop()
            assert [list(message) for message in await messages(job)] == [["progress"]]
        worker.submit(first).stop()
        gate.set()
        await messages(jobs[0])

    run(main())
    assert begun == []


def test_a_foreseen_error_is_its_message(worker, capsys):
    def work(listener):
        raise PromptError("The prompt is empty. Give some text.")

    async def main():
        return await messages(worker.submit(work))

    assert run(main()) == [{"error": "The prompt is empty. Give some text."}]
    assert capsys.readouterr().err == ""


def test_an_unforeseen_error_shows_its_trace_in_the_terminal_alone_and_work_goes_on(worker, capsys):
    def work(listener):
        raise ZeroDivisionError("a secret of the machine")

    async def main():
        failed = await messages(worker.submit(work))
        return failed, await messages(worker.submit(lambda listener: {"done": True}))

    [failed], [*_, after] = run(main())  # the second may be told that it waits for the end of the first
    assert "ZeroDivisionError" in failed["error"]
    assert "secret" not in failed["error"]
    assert "Traceback" in capsys.readouterr().err
    assert after == {"done": True}
