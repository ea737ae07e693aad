"""Who is let in, by real requests to a running server."""

import json
import socket

import httpx
import pytest

from layerwise.view.live.guard import BODY_LIMIT
from layerwise.view.live.server import ViewServer
from layerwise.view.live.session import Session

ASKED = {"model": "tiny", "prompt": "The capital of Germany is"}


def test_the_page_and_the_data_come_to_who_has_the_token(server, client):
    page = httpx.get(server.url, trust_env=False)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert client.get("/api/document").json()["format"] == "layerwise view 1"
    assert client.post("/api/trace", json=ASKED).status_code == 200


@pytest.mark.parametrize("path", ["/", "/?token=", "/?token=wrong", "/?token=wrong&token=wrong", "/elsewhere"])
def test_no_page_without_the_token(server, path):
    answer = httpx.get(f"http://127.0.0.1:{server.port}{path}", trust_env=False)
    assert answer.status_code == 401
    assert "token" in answer.text


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer wrong", "Bearer é", "Basic wrong"])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "document"), ("GET", "choices"), ("POST", "trace"), ("POST", "x")]
)
def test_no_data_without_the_token(server, method, path, authorization):
    headers = {} if authorization is None else {"Authorization": authorization.encode()}
    url = f"http://127.0.0.1:{server.port}/api/{path}?token={server.token}"
    answer = httpx.request(method, url, headers=headers, json=ASKED, trust_env=False)
    assert answer.status_code == 401
    assert set(answer.json()) == {"error"}


def test_the_token_is_long_and_new_each_time(serving):
    tokens = {serving(Session()).token for _ in range(2)}
    assert len(tokens) == 2
    assert all(len(token) >= 32 for token in tokens)


def test_the_token_of_the_page_is_not_taken_twice(server):
    assert httpx.get(f"{server.url}&token={server.token}", trust_env=False).status_code == 401


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "127.0.0.1.evil.example:{port}", ""]
)
def test_a_name_that_was_made_to_point_here_is_refused(server, client, host):
    answer = client.get("/api/document", headers={"Host": host.format(port=server.port)})
    assert answer.status_code == 403
    assert "forward the same port" in answer.json()["error"]


def test_localhost_is_a_name_of_this_server(server, client):
    assert client.get("/api/document", headers={"Host": f"localhost:{server.port}"}).status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "https://127.0.0.1:{port}",
        "http://127.0.0.1:1",
        "http://127.0.0.1",
        "http://localhost:{port}",
        "http://127.0.0.1:{port}.evil.example",
    ],
)
def test_another_origin_is_refused(server, client, origin):
    answer = client.post("/api/trace", json=ASKED, headers={"Origin": origin.format(port=server.port)})
    assert answer.status_code == 403


def test_its_own_origin_is_let_in(server, client):
    own = {"Origin": f"http://127.0.0.1:{server.port}", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/api/trace", json=ASKED, headers=own).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "anything"])
def test_what_another_page_leads_to_is_refused(server, client, site):
    assert client.get("/api/document", headers={"Sec-Fetch-Site": site}).status_code == 403
    assert httpx.get(server.url, headers={"Sec-Fetch-Site": site}, trust_env=False).status_code == 403


TAB = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


def test_a_file_may_lead_a_whole_tab_to_the_page_with_the_token(server):
    assert httpx.get(server.url, headers=TAB, trust_env=False).status_code == 200


@pytest.mark.parametrize("changed", [{"Sec-Fetch-Dest": "iframe"}, {"Sec-Fetch-Mode": "cors"}])
def test_nothing_but_a_whole_tab_is_led_here(server, changed):
    assert httpx.get(server.url, headers=TAB | changed, trust_env=False).status_code == 403


def test_a_tab_that_is_led_here_needs_the_token_and_gets_no_data(server, client):
    base = f"http://127.0.0.1:{server.port}"
    assert httpx.get(f"{base}/?token=wrong", headers=TAB, trust_env=False).status_code == 401
    assert client.get("/api/document", headers=TAB).status_code == 403
    assert httpx.post(server.url, headers=TAB, json={}, trust_env=False).status_code == 403


def test_an_address_typed_by_hand_is_let_in(server):
    assert httpx.get(server.url, headers={"Sec-Fetch-Site": "none"}, trust_env=False).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_what_a_form_could_send_is_refused(client, kind):
    answer = client.post("/api/trace", content=json.dumps(ASKED), headers={"Content-Type": kind})
    assert answer.status_code == 415


def test_a_body_beyond_the_limit_is_refused_whether_its_length_was_said_or_not(client):
    large = b'{"prompt": "' + b"a" * BODY_LIMIT + b'"}'
    for content in (large, iter([large[:1000], large[1000:]]), large * 10):
        answer = client.post("/api/trace", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413


def test_every_answer_protects_the_page(server, client):
    answers = [
        httpx.get(server.url, trust_env=False),
        httpx.get(f"http://127.0.0.1:{server.port}/", trust_env=False),
        client.get("/api/document"),
        client.get("/api/nothing"),
        client.post("/api/trace", json=ASKED),
    ]
    assert [answer.status_code for answer in answers] == [200, 401, 200, 404, 200]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "server" not in answer.headers
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_the_page_runs_no_script_but_its_own(server):
    page = httpx.get(server.url, trust_env=False)
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy["script-src"].startswith("'sha256-")
    assert policy["connect-src"] == "'self'"
    assert server.token not in page.text


def test_a_question_of_another_pages_script_before_its_request_is_not_answered(client):
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    answer = client.options("/api/trace", headers=asked)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_only_the_loopback_address_is_bound(server):
    assert server._socket.getsockname()[0] == "127.0.0.1"
    with socket.socket() as elsewhere, pytest.raises(OSError):
        elsewhere.settimeout(2)
        elsewhere.connect(("127.0.0.2", server.port))


def test_a_websocket_is_refused(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        asked = [f"GET /?token={server.token} HTTP/1.1", f"Host: 127.0.0.1:{server.port}", "Upgrade: websocket"]
        asked += ["Connection: Upgrade", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"]
        raw.sendall("\r\n".join([*asked, "", ""]).encode())
        assert b"101" not in raw.recv(200).split(b"\r\n")[0]


def test_a_port_that_is_taken_is_said(server):
    from layerwise.errors import LayerwiseError

    with pytest.raises(LayerwiseError, match="--port"):
        ViewServer(Session(), title="second", live=False, port=server.port)
