"""Answers as they stream, and what happens when their readers go."""

import json
import threading
import time

import pytest

from layerwise.view.live.session import Session
from layerwise.view.live.work import WAITING

ASKED = {"model": "m", "prompt": "The capital of Germany is"}


@pytest.fixture
def server(serving, gated):
    return serving(Session(models=["m"], load=lambda name, progress: gated))


@pytest.fixture
def client(server, connect):
    return connect(server)


def layers_of(lines, count):
    """Return so many layers' indices from the beginning of a stream."""
    found = []
    for line in lines:
        message = json.loads(line)
        if "layer" in message:
            found.append(message["layer"]["index"])
        if len(found) == count:
            break
    return found


def until(true, seconds=20):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_layer_arrives_before_the_next_is_computed(client, gated):
    with client.stream("POST", "/api/trace", json=ASKED) as answer:
        lines = answer.iter_lines()
        for index in range(3):
            gated.open(1)
            assert layers_of(lines, 1) == [index]
            assert gated.layers_done == index + 1
        gated.open()
        *_, last = lines
    assert "trace" in json.loads(last)


def test_the_work_of_a_client_that_has_gone_stops(server, client, gated):
    with client.stream("POST", "/api/trace", json=ASKED) as answer:
        gated.open(3)
        assert layers_of(answer.iter_lines(), 3) == [0, 1, 2]
        [job] = {server._worker._current}
    assert job._stopped.wait(20)
    gated.open()
    assert gated.ended.wait(20)
    assert gated.layers_done == 4
    assert client.get("/api/document").json()["traces"] == []


def test_the_work_of_a_client_that_has_gone_before_its_turn_never_begins(server, client, connect, gated):
    other = connect(server)
    with client.stream("POST", "/api/trace", json=ASKED) as first:
        gated.open(1)
        lines = first.iter_lines()
        layers_of(lines, 1)
        with other.stream("POST", "/api/trace", json=ASKED) as second:
            assert "waiting for 1" in next(second.iter_lines())
        until(lambda: not server._worker._waiting)
        gated.open()
        list(lines)
    assert gated.begun == 1


def test_two_clients_at_once_both_get_their_trace(server, connect, gated):
    gated.open(2 * gated.N_LAYERS + 2)
    answers = {}

    def ask(name):
        answers[name] = connect(server).post("/api/trace", json=ASKED | {"prompt": name}).text.splitlines()

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("One", "Two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for name in ("One", "Two"):
        assert json.loads(answers[name][-1])["trace"]["prompt"] == name
    assert len(connect(server).get("/api/document").json()["traces"]) == 2


def test_beyond_those_that_may_wait_the_answer_is_busy(server, client, connect, gated):
    open_streams = []
    for _ in range(WAITING + 1):
        stream = connect(server).stream("POST", "/api/trace", json=ASKED)
        stream.__enter__()
        open_streams.append(stream)
    answer = client.post("/api/trace", json=ASKED)
    assert answer.status_code == 503
    assert "Try again" in answer.json()["error"]
    for stream in open_streams:
        stream.__exit__(None, None, None)


def test_the_page_and_its_data_come_while_something_is_computed(server, client, connect, gated):
    with client.stream("POST", "/api/trace", json=ASKED) as answer:
        gated.open(1)
        layers_of(answer.iter_lines(), 1)
        assert connect(server).get("/api/choices").json()["models"] == ["m"]


def test_what_cannot_be_traced_is_a_message_and_the_next_is_traced(client, gated):
    gated.open()
    empty = client.post("/api/trace", json=ASKED | {"prompt": ""})
    assert "Give some text" in json.loads(empty.text.splitlines()[-1])["error"]
    assert "trace" in json.loads(client.post("/api/trace", json=ASKED).text.splitlines()[-1])


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'{"model": "m"}', b'{"model": "m", "prompt": "p", "x": 1}'])
def test_a_request_of_another_form_is_refused(client, body):
    answer = client.post("/api/trace", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/trace"), ("POST", "/api/document"), ("GET", "/api/nothing")]
)
def test_what_is_not_there_is_said_without_more(client, method, path):
    answer = client.request(method, path, json={})
    assert answer.status_code in (404, 405)
    assert set(answer.json()) == {"error"}


def test_a_server_that_ends_stops_its_work(serving, gated, connect):
    server = serving(Session(models=["m"], load=lambda name, progress: gated))
    with connect(server).stream("POST", "/api/trace", json=ASKED) as answer:
        gated.open(1)
        lines = answer.iter_lines()
        assert layers_of(lines, 1) == [0]
        [job] = {server._worker._current}
        server.stop()
        assert job._stopped.wait(20)
        gated.open()
        list(lines)
    assert gated.ended.wait(20)
    assert gated.layers_done == 2
