"""Who may speak to the server: the page that was opened with the printed address, and nobody else.

A server on the loopback address can be reached by every page that the same browser has open and by
every user of the machine. So each request has to bring the token, and a browser's own headers have to
say that it comes from this server's page: `Host` against names that were made to point here (DNS
rebinding), `Origin` and `Sec-Fetch-Site` against other pages.
"""

import json
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY_LIMIT = 1 << 18
"""Bytes of a request's body."""

_PATIENCE = 16 * BODY_LIMIT
"""Bytes that are read of a body that will be refused."""

POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The content-security policy of whatever brings none of its own."""

_HEADERS = {
    b"content-security-policy": POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
}


@dataclass(frozen=True)
class Refusal:
    """Why a request is not let in."""

    status: int
    message: str


class Guard:
    """ASGI middleware that lets a request in or refuses it, and adds the headers that protect the page."""

    def __init__(self, app: App, *, token: str, port: int) -> None:
        """Guard `app`, which serves on this port of the loopback address."""
        self._app = app
        self._token = token.encode()
        self._hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or say why not."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, _with_headers(send))
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The body first, even of what is refused: a client that is still sending would not see why.
        body, too_large = await _read(receive)
        refusal = self._foreign(scope) or self._unknown(scope) or _unfit(scope) or too_large
        if refusal:
            await _refuse(refusal, scope, send)
        else:
            await self._app(scope, _replayed(body, receive), send)

    def _foreign(self, scope: Scope) -> Refusal | None:
        """Return why a request is taken for another page's, if it is."""
        hosts = _all(scope, b"host")
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return Refusal(
                403,
                f"This server answers at {' and '.join(sorted(self._hosts))} only. Where it is reached through a "
                "forwarded port, forward the same port number.",
            )
        if any(origin != f"http://{hosts[0]}" for origin in _all(scope, b"origin")):
            return Refusal(403, "Another page asked for this. Only the viewer's own page may.")
        sites = _all(scope, b"sec-fetch-site")
        if any(site not in ("same-origin", "none") for site in sites) and not _opens_a_tab(scope):
            return Refusal(403, "Another page led here. Copy the address and open it in a new tab.")
        return None

    def _unknown(self, scope: Scope) -> Refusal | None:
        """Return why a request does not show the token, if it does not."""
        if scope["path"].startswith("/api/"):
            shown = [value.removeprefix("Bearer ") for value in _all(scope, b"authorization")]
        else:
            shown = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        if len(shown) == 1 and secrets.compare_digest(shown[0].encode(), self._token):
            return None
        return Refusal(401, "The token is missing or wrong. Open the whole address that `layerwise view` printed.")


def _opens_a_tab(scope: Scope) -> bool:
    """Return whether a request is for the page itself, as a whole tab.

    The file that the browser is started with (`view.live.opening`) leads here, and for a browser every file is
    another site. Nothing is lost by it: who leads here has to know the token, cannot read what the tab shows, and
    cannot have it in a frame.
    """
    asked = {name: _all(scope, name.encode()) for name in ("sec-fetch-mode", "sec-fetch-dest")}
    whole_tab = asked == {"sec-fetch-mode": ["navigate"], "sec-fetch-dest": ["document"]}
    return scope["method"] == "GET" and scope["path"] == "/" and whole_tab


def _unfit(scope: Scope) -> Refusal | None:
    """Return why a request's body is not to be read, if so."""
    if scope["method"] in ("GET", "HEAD"):
        return None
    kinds = [value.partition(";")[0].strip().lower() for value in _all(scope, b"content-type")]
    if kinds != ["application/json"]:
        return Refusal(415, "Requests are JSON: send Content-Type: application/json.")
    return None


async def _read(receive: Receive) -> tuple[bytes, Refusal | None]:
    """Return a request's body; of one beyond the limit nothing is kept, and not all is read."""
    parts, size, more = list[bytes](), 0, True
    while more and size <= _PATIENCE:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"", Refusal(400, "The request ended early.")
        part = message.get("body", b"")
        size += len(part)
        if size <= BODY_LIMIT:
            parts.append(part)
        more = message.get("more_body", False)
    if size > BODY_LIMIT:
        return b"", Refusal(413, f"The request is larger than {BODY_LIMIT:,} bytes. Shorten the prompt.")
    return b"".join(parts), None


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body again, then what follows: that the client has gone."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _refuse(refusal: Refusal, scope: Scope, send: Send) -> None:
    in_json = scope["path"].startswith("/api/")
    body = json.dumps({"error": refusal.message}) if in_json else refusal.message + "\n"
    kind = b"application/json" if in_json else b"text/plain; charset=utf-8"
    # What is left of a body that was not read would be taken for the next request.
    headers = [(b"content-type", kind), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body.encode()})


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = list(message.get("headers", []))
            named = {name.lower() for name, _ in own}
            more = [(name, value) for name, value in _HEADERS.items() if name not in named]
            message = {**message, "headers": own + more}
        await send(message)

    return sent


def _all(scope: Scope, name: bytes) -> list[str]:
    """Return all values that a request gives for a header."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]
