import contextlib
import threading

import httpx
import pytest

from layerwise.tracing.early_reader import LayerRead
from layerwise.view.live.server import ViewServer
from layerwise.view.live.session import Session


class GatedModel:
    """A model whose layers are computed one by one as a test lets them; then it gives a real model's trace."""

    N_LAYERS = 100

    def __init__(self, model):
        self.model = model
        self.gate = threading.Semaphore(0)
        self.ended = threading.Event()
        self.begun = self.layers_done = 0

    @property
    def info(self):
        return self.model.info

    def trace_all(self, requests, *, lenses, progress, on_layer):
        self.begun += 1
        try:
            [[trace]] = self.model.trace_all(requests, lenses=lenses)
            token = trace.top(0)[0]
            for layer in range(self.N_LAYERS + 1):
                assert self.gate.acquire(timeout=30)
                self.layers_done += 1
                top = ((token,),) * len(trace.positions)
                on_layer(LayerRead(layer, self.N_LAYERS, trace.tokens, trace.positions, top))
            return [[trace]]
        finally:
            self.ended.set()

    def open(self, layers=N_LAYERS + 1):
        for _ in range(layers):
            self.gate.release()


@pytest.fixture
def gated(tiny):
    model = GatedModel(tiny)
    yield model
    model.open(10 * model.N_LAYERS)


@pytest.fixture
def serving():
    """Serves a session from a thread: `serving(session)` gives the server, which ends with the test."""
    with contextlib.ExitStack() as ends:

        def serve(session, **more):
            server = ViewServer(session, title="test", live=True, **more)
            thread = threading.Thread(target=server.serve)
            thread.start()
            ends.callback(thread.join, 20)
            ends.callback(server.stop)
            return server

        yield serve


@pytest.fixture
def server(serving, tiny):
    """A server with one small model."""
    return serving(Session(models=["tiny"], load=lambda name, progress: tiny))


@pytest.fixture
def client(server):
    with client_of(server) as client:
        yield client


@pytest.fixture
def connect():
    """`connect(server)` gives a client that has the token."""
    with contextlib.ExitStack() as ends:
        yield lambda server: ends.enter_context(client_of(server))


def client_of(server):
    authorization = {"Authorization": f"Bearer {server.token}"}
    return httpx.Client(base_url=f"http://127.0.0.1:{server.port}", headers=authorization, timeout=30, trust_env=False)
