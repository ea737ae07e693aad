"""The browser is started without the address in its command line."""

import html
import queue
import re
import stat
import webbrowser
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest

from layerwise.view.live.opening import opened_in_browser

URL = "http://127.0.0.1:1234/?token=secret&more='\""


@pytest.fixture
def started(monkeypatch):
    """What browsers are started with."""
    found = queue.Queue[str]()
    monkeypatch.setattr(webbrowser, "open", lambda address: found.put(address) or True)
    return found


def test_the_browser_gets_a_file_and_the_file_the_address(started):
    with opened_in_browser(URL):
        address = started.get(timeout=20)
        assert address.startswith("file://")
        assert "secret" not in address
        page = Path(url2pathname(urlsplit(address).path)).read_text("utf-8")
    found = re.search('content="0; url=([^"]*)"', page)
    assert found and html.unescape(found[1]) == URL


def test_only_its_user_can_read_the_file_and_it_goes_with_the_server(started):
    with opened_in_browser(URL):
        page = Path(url2pathname(urlsplit(started.get(timeout=20)).path))
        assert stat.S_IMODE(page.stat().st_mode) == 0o600
        assert stat.S_IMODE(page.parent.stat().st_mode) == 0o700
    assert not page.parent.exists()
