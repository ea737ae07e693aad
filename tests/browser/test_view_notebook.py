"""The view in notebooks: in a real Jupyter kernel, and drawn by JupyterLab in a real browser."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed here")
pytest.importorskip("anywidget", reason="anywidget is not installed here")
pytest.importorskip("ipykernel", reason="ipykernel is not installed here")

PROMPT = "The capital of Germany is"
WIDGET = "application/vnd.jupyter.widget-view+json"
_RAN = re.compile(r"\[\d+\]")
"""What stands beside a cell that ran."""
STATE = "application/vnd.jupyter.widget-state+json"


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """An environment in which Jupyter reads and writes nothing of this user's."""
    home = tmp_path_factory.mktemp("home")
    places = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    return os.environ | {name: str(home / name.lower()) for name in places} | {"OMP_NUM_THREADS": "1"}


@pytest.fixture
def notebook(family_folder, tmp_path):
    """A notebook's file that traces a prompt with a toy model and shows the trace in its last cell."""
    made = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(
                f"import layerwise\nmodel = layerwise.load({str(family_folder('qwen3'))!r}, device='cpu')\n"
                f"trace = model.trace({PROMPT!r}, answer=' Berlin', positions='all')"
            ),
            nbformat.v4.new_code_cell("trace"),
        ],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    file = tmp_path / "notebook.ipynb"
    nbformat.write(made, file)
    return file


def test_a_trace_is_a_widget_in_a_kernel(notebook, environment):
    """nbclient in a process of its own: what it and its messages warn of is theirs."""
    pytest.importorskip("nbclient", reason="nbclient is not installed here")
    code = (
        "import sys, nbformat; from nbclient import NotebookClient; read = nbformat.read(sys.argv[1], 4); "
        "NotebookClient(read, kernel_name='python3', timeout=300).execute(); nbformat.write(read, sys.argv[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(notebook)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    ran = json.loads(notebook.read_text("utf-8"))
    [output] = ran["cells"][1]["outputs"]
    assert output["data"].keys() == {WIDGET, "text/html", "text/plain"}
    states = ran["metadata"]["widgets"][STATE]["state"]
    shown = states[output["data"][WIDGET]["model_id"]]
    assert shown["model_module"] == "anywidget"
    assert shown["state"]["document"]["title"] == PROMPT
    assert "export default" in shown["state"]["_esm"]


@pytest.fixture
def lab(notebook, environment):
    """The address of a JupyterLab that serves the notebook, token included."""
    pytest.importorskip("jupyterlab", reason="jupyterlab is not installed here")
    folder = notebook.parent
    options = ["--no-browser", "--ServerApp.port=0", f"--ServerApp.root_dir={folder}", "--ServerApp.allow_root=True"]
    with (folder / "lab.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options], env=environment, stdout=log, stderr=log
        )
    try:
        info = _server_info(Path(environment["JUPYTER_RUNTIME_DIR"]), server, folder / "lab.log")
        yield f"{info['url']}lab/tree/{notebook.name}?token={info['token']}"
    finally:
        server.terminate()
        server.wait(timeout=30)


def _server_info(runtime: Path, server: subprocess.Popen, log: Path) -> dict:
    until = time.monotonic() + 90
    while time.monotonic() < until and server.poll() is None:
        for file in runtime.glob(f"jpserver-{server.pid}.json"):
            if text := file.read_text():
                return json.loads(text)
        time.sleep(0.2)
    raise AssertionError(log.read_text())


def _run(page: Page, cell: Locator) -> None:
    """Run a cell to its end.

    JupyterLab shows cells before it takes keys: until then, they are lost. A cell that neither runs nor ran gets them
    again, therefore.
    """
    until = time.monotonic() + 180
    while time.monotonic() < until:
        beside = cell.locator(".jp-InputPrompt").inner_text()
        if _RAN.search(beside):
            return
        if "*" not in beside:
            cell.locator(".cm-content").click()
            page.keyboard.press("Shift+Enter")
        page.wait_for_timeout(3_000)
    raise AssertionError(f"JupyterLab runs no cell:\n{page.locator('.jp-Notebook').inner_text()}")


def _answer(dialog: Locator) -> None:
    """Take what a dialog proposes: while one stands over the cells, no click reaches them."""
    print("JupyterLab asked:", dialog.inner_text())
    dialog.locator(".jp-mod-accept").click()


def test_jupyterlab_draws_the_grid(lab, browser):
    page = browser.new_page()
    page.set_default_timeout(180_000)
    page.add_locator_handler(page.locator(".jp-Dialog"), _answer)
    page.goto(lab)
    page.locator("#jupyterlab-splash").wait_for(state="detached")
    cells = page.locator(".jp-CodeCell")
    expect(cells).to_have_count(2, timeout=180_000)  # they come one by one
    for cell in cells.all():
        _run(page, cell)
    drawn = page.locator(".jp-OutputArea .lw-view canvas").first
    drawn.wait_for()
    box = drawn.bounding_box()
    assert box
    assert box["width"] > 200
    assert box["height"] > 50
    expect(page.locator(".jp-OutputArea .lw-detail").get_by_text("after ␣is")).to_be_visible(timeout=180_000)
    page.close()
