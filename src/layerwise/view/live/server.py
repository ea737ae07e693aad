"""The routes of the viewer's server, and the server: on the loopback address, behind the guard."""

import asyncio
import contextlib
import json
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from layerwise.errors import LayerwiseError
from layerwise.view.document import document_json
from layerwise.view.live.asked import AskedError, read_asked, read_name, read_together
from layerwise.view.live.guard import Guard
from layerwise.view.live.live_page import Page
from layerwise.view.live.session import Session
from layerwise.view.live.work import BusyError, Job, Work, Worker

_LOOPBACK = "127.0.0.1"

_GRACE = 2
"""Seconds that open connections get when the server ends."""


class ViewServer:
    """A viewer's server on the loopback address. Bound when it is made, so that its address is known."""

    def __init__(self, session: Session, *, title: str, live: bool, port: int = 0, token: str | None = None) -> None:
        """Bind to a port; 0 takes one that is free.

        Raises:
            LayerwiseError: the port cannot be had.
        """
        self._socket = _bound(port)
        self.port: int = self._socket.getsockname()[1]
        self.token = token or secrets.token_urlsafe(32)
        self._worker = Worker()
        app = _application(session, self._worker, Page(title, live))
        self._server = _Server(
            self._worker,
            uvicorn.Config(
                Guard(app, token=self.token, port=self.port),
                http="h11",
                ws="none",
                lifespan="off",
                loop="asyncio",
                log_config=None,  # its messages would stand in the terminal with the token in them
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=_GRACE,
            ),
        )

    @property
    def url(self) -> str:
        """The address to open, token included."""
        return f"http://{_LOOPBACK}:{self.port}/?token={self.token}"

    def serve(self) -> None:
        """Serve until `stop` or Ctrl-C. What is being computed is stopped."""
        try:
            with contextlib.suppress(KeyboardInterrupt):  # raised again by uvicorn once it has ended
                self._server.run(sockets=[self._socket])
        finally:
            self._worker.close()
            self._socket.close()

    def stop(self) -> None:
        """Have `serve` return."""
        self._server.should_exit = True


class _Server(uvicorn.Server):
    """Ends its work first, so that answers under way end too and nothing has to be waited for."""

    def __init__(self, worker: Worker, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._worker = worker

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._worker.close(patience=0)
        await super().shutdown(sockets)


class _Told(StreamingResponse):
    """A job's messages, one JSON value a line. Where the client goes, the job is stopped."""

    def __init__(self, job: Job) -> None:
        super().__init__(self._lines(), media_type="application/x-ndjson")
        self._job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._job.stop()

    async def _lines(self) -> AsyncIterator[str]:
        async for message in self._job.messages():
            yield json.dumps(message, ensure_ascii=True, allow_nan=False) + "\n"


def _bound(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((_LOOPBACK, port))
        bound.listen()  # so that a browser that is faster than the server waits
    except (OSError, OverflowError) as error:
        bound.close()
        raise LayerwiseError(
            f"Port {port} cannot be used ({getattr(error, 'strerror', None) or error}). Choose another with --port, "
            "or leave it out: then a free one is taken."
        ) from error
    return bound


def _application(session: Session, worker: Worker, page: Page) -> Starlette:
    async def show_page(_request: Request) -> Response:
        return HTMLResponse(page.text, headers={"content-security-policy": page.policy})

    async def document(_request: Request) -> Response:
        text = await asyncio.to_thread(lambda: document_json(session.document))
        return Response(text, media_type="application/json")

    async def choices(_request: Request) -> Response:
        return JSONResponse(await asyncio.to_thread(lambda: session.choices))

    def computed(read: Callable[[bytes], Work]) -> Callable[[Request], Awaitable[Response]]:
        """Return an endpoint that answers with the messages of the work that `read` makes of a request."""

        async def answer(request: Request) -> Response:
            return _Told(worker.submit(read(await request.body())))

        return answer

    def load(body: bytes) -> Work:
        name = read_name(body, "model")
        return lambda listener: session.load(name, listener)

    def trace(body: bytes) -> Work:
        asked = read_asked(body)
        return lambda listener: session.trace(asked, listener)

    def traces(body: bytes) -> Work:
        asked = read_together(body)
        return lambda listener: session.traces(asked, listener)

    def open_run(body: bytes) -> Work:
        name = read_name(body, "run")
        return lambda listener: session.open(name, listener)

    routes = [
        Route("/", show_page),
        Route("/api/document", document),
        Route("/api/choices", choices),
        *(
            Route(f"/api/{name}", computed(read), methods=["POST"])
            for name, read in {"load": load, "trace": trace, "traces": traces, "open": open_run}.items()
        ),
    ]
    return Starlette(
        routes=routes,
        exception_handlers={
            AskedError: lambda _request, error: _said(400, str(error)),
            BusyError: lambda _request, error: _said(503, str(error)),
            HTTPException: _no_route,
            Exception: lambda _request, _error: _said(500, "layerwise itself failed. Its terminal shows where."),
        },
    )


def _no_route(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return _said(status, "There is nothing at this address of the viewer's server, or not by this method.")


def _said(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status_code=status)
