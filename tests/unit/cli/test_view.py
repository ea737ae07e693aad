"""`layerwise view`: what it shows, what it refuses, and how it ends."""

import os
import re
import signal
import subprocess
import sys
import time

import httpx
import pytest

PROMPT = "The capital of Germany is"


@pytest.fixture
def trace_file(tiny, tmp_path):
    tiny.trace(PROMPT).save(tmp_path / "trace.json")
    return tmp_path / "trace.json"


@pytest.fixture
def viewer():
    """Starts the command in a process of its own; gives the process and the address that it prints."""
    started = []

    def start(*arguments):
        command = [sys.executable, "-m", "layerwise", "view", "--no-browser", *map(str, arguments)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout
        found = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", process.stdout.readline())
        assert found, process.communicate(timeout=20)
        return process, found[0]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_stored_trace_is_served_without_a_model(viewer, trace_file):
    process, url = viewer(trace_file)
    page = httpx.get(url, trust_env=False)
    assert page.status_code == 200
    base, token = url.split("/?token=")
    with httpx.Client(headers={"Authorization": f"Bearer {token}"}, trust_env=False) as client:
        document = client.get(f"{base}/api/document").json()
        asked = client.post(f"{base}/api/trace", json={"model": "gemma-3-270m", "prompt": "p"})
    assert [trace["prompt"] for trace in document["traces"]] == [PROMPT]
    assert "--live" in asked.text
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in said


def test_control_c_while_a_page_is_open_ends_at_once_with_exit_0(viewer, trace_file):
    process, url = viewer(trace_file)
    with httpx.Client(trust_env=False) as client:
        client.get(url)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in said


def test_no_command_line_has_the_token(trace_file, tmp_path):
    """`$BROWSER` is started as a browser would be; it notes the command line that every user can see."""
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$0 $*" > {tmp_path}/noted.part\nmv {tmp_path}/noted.part {tmp_path}/noted\n')
    browser.chmod(0o755)
    command = [sys.executable, "-m", "layerwise", "view", str(trace_file)]
    environment = os.environ | {"BROWSER": f"{browser} %s"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as server:
        assert server.stdout
        token = server.stdout.readline().split("token=")[1].strip()
        end = time.monotonic() + 60
        while not (tmp_path / "noted").exists() and time.monotonic() < end:
            time.sleep(0.05)
        shown = subprocess.run(["ps", "-ww", "-o", "args=", "-p", str(server.pid)], capture_output=True, check=False)
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)
    noted = (tmp_path / "noted").read_text()
    assert "file://" in noted
    assert token not in noted
    assert token not in shown.stdout.decode()


def test_a_browser_that_is_waited_for_gets_the_page(trace_file, tmp_path):
    """`$BROWSER` with a `%s` is started in the foreground; this one ends once it has the page."""
    browser = tmp_path / "browser"
    browser.write_text(
        f"#!{sys.executable}\n"
        "import html, re, sys, urllib.request\n"
        "page = urllib.request.url2pathname(sys.argv[1].removeprefix('file://'))\n"
        "address = html.unescape(re.search('url=([^\"]+)', open(page).read())[1])\n"
        "direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))\n"
        f"open({str(tmp_path / 'seen.part')!r}, 'wb').write(direct.open(address, timeout=30).read())\n"
        f"import os; os.rename({str(tmp_path / 'seen.part')!r}, {str(tmp_path / 'seen')!r})\n"
    )
    browser.chmod(0o755)
    command = [sys.executable, "-m", "layerwise", "view", str(trace_file)]
    environment = os.environ | {"BROWSER": f"{browser} %s"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as server:
        end = time.monotonic() + 60
        while not (tmp_path / "seen").exists() and time.monotonic() < end:
            time.sleep(0.05)
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)
    assert "startLive" in (tmp_path / "seen").read_text()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no such signals here")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_kill_and_a_closed_terminal_leave_no_file_that_leads_to_the_page(trace_file, tmp_path, name):
    command = [sys.executable, "-m", "layerwise", "view", str(trace_file)]
    environment = os.environ | {"BROWSER": "true %s", "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as server:
        end = time.monotonic() + 60
        while not list(tmp_path.glob("layerwise-view-*/open.html")) and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(1)  # until it serves
        number = getattr(signal, name)
        server.send_signal(number)
        _, said = server.communicate(timeout=60)
    assert server.returncode == 128 + number
    assert "Traceback" not in said
    assert not list(tmp_path.glob("layerwise-view-*"))


def test_html_writes_the_page_instead(layerwise, trace_file, tmp_path):
    code, _, said = layerwise("view", str(trace_file), "--html", str(tmp_path / "view.html"))
    assert code == 0
    assert "view.html" in said
    assert PROMPT in (tmp_path / "view.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--live"),
        (["absent.json"], "absent.json"),
        (["--live", "--html", "x.html"], "--html writes a file"),
        (["--folder", "absent"], "no folder absent"),
        (["--port", "99999", "--live"], "65535"),
    ],
)
def test_what_cannot_be_shown_is_said(layerwise, monkeypatch, tmp_path, arguments, said):
    monkeypatch.chdir(tmp_path)
    code, _, err = layerwise("view", *arguments)
    assert code in (1, 2)
    assert said in " ".join(err.split())


def test_without_the_optional_packages_the_command_that_installs_them_is_said(layerwise, monkeypatch, trace_file):
    monkeypatch.delitem(sys.modules, "layerwise.view.live.server", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    code, _, err = layerwise("view", str(trace_file))
    assert code == 1
    assert "pip install 'layerwise[viewer]'" in " ".join(err.split())


def test_looking_at_a_trace_loads_no_model_code(trace_file):
    code = (
        "import sys; from pathlib import Path; from layerwise.cli.view import _document; "
        "import layerwise.view.live.server; "
        f"_document([Path({str(trace_file)!r})]); sys.exit('transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
