"""What README and documentation show works: commands are parsed and run, Python is run, links lead somewhere.

A page's files (a block below "`name.csv`:") are written into a folder of its own. In that folder its commands run one
after another, then its Python, as one program.
"""

import ast
import functools
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

import layerwise
from layerwise.cli.app import app, run_app
from layerwise.models.sources.bundled import BUNDLED, bundled_file
from tests.lenses import saved_lens

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "tutorial.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

NOT_RUN = {
    r"qwen3-8b|qwen/qwen3|llama-3|google/gemma|-70b-|folder-with|organisation/": "models that are not bundled",
    r"--device (cuda|mps)": "not every machine has one",
    r"^layerwise doctor": "its outcome is this machine's",
    r"^layerwise view (?!.*--html)": "serves until it is stopped",
    r"^layerwise models pull": "fetches",
    r"runs/four|my_study|my_questions|runs/mine": "stand for the reader's own",
    r"corpus\.jsonl|lens merge": "take the reader's own text",
    r"^layerwise lens report": "takes minutes; run on a toy model in the command's own tests",
    r"^layerwise run experiments/": "run by `make demo`",
}
"""Commands that are parsed only, and why."""

ELSEWHERE = {"pip", "hf", ".", "cd"}
"""What commands begin with that are not ours to check."""

_FENCE = re.compile(
    r"(?:`(?P<file>[\w.-]+\.(?:csv|toml|jsonl|json|txt))`:\n\n)?"
    r"^(?P<indent> *)```(?P<kind>\w+)[^\n]*\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s#]*)(?:#([^)\s]+))?\)")
_INLINE_COMMAND = re.compile(r"`layerwise ((?:[a-z-]+)(?: [a-z-]+)?)[^`]*`")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    kind: str
    text: str
    file: str | None
    """What the page calls it, where it is a file."""


@dataclass(frozen=True)
class Command:
    """A command that a page shows, and what the page says that it prints."""

    line: str
    prints: tuple[str, ...] = ()


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [Block(m["kind"], textwrap.dedent(m["text"]), m["file"]) for m in _FENCE.finditer(text)]


def commands(block: Block) -> list[Command]:
    """Return the commands of a block: its lines in ``bash``, those after ``$`` in ``console`` with what follows."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.kind == "bash":
        stripped = [re.sub(r"\s+#.*$", "", line).strip() for line in lines]
        return [Command(line) for line in stripped if line and not line.startswith("#")]
    found: list[Command] = []
    for line in lines if block.kind == "console" else ():
        if line.startswith("$ "):
            found.append(Command(line[2:]))
        else:
            found[-1] = Command(found[-1].line, (*found[-1].prints, line.strip()))
    return found


def words_of(command: Command) -> list[str]:
    """Return a command's words, without the variables set in front of it."""
    words = shlex.split(command.line)
    while re.match(r"[A-Z_]+=", words[0]):
        words.pop(0)
    return words


def shown() -> list[tuple[Path, Command]]:
    return [(page, command) for page in PAGES for block in blocks(page) for command in commands(block)]


def is_run(command: Command) -> bool:
    return words_of(command)[0] == "layerwise" and not any(re.search(p, command.line, re.I) for p in NOT_RUN)


def descend(words: list[str]) -> tuple[Any, list[str]]:
    """Return the command that the words name, and those that are left for it."""
    found: Any = typer.main.get_command(app)
    while words and words[0] in getattr(found, "commands", {}):
        found, words = found.commands[words[0]], words[1:]
    return found, words


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize(("page", "command"), shown(), ids=lambda value: getattr(value, "line", None) or name_of(value))
def test_every_command_is_one_that_there_is(page, command):
    first, *words = words_of(command)
    if first == "layerwise":
        found, left = descend(words)
        found.make_context("layerwise", left)  # raises what the command line would complain of
    elif first == "make":
        targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
        assert {word for word in words if "=" not in word} <= targets
    elif first == "python":
        place = Path(*words[1].split(".")) if words[0] == "-m" else Path(words[0])
        assert any((ROOT / each).is_file() for each in (place, place.with_suffix(".py"), place / "__main__.py"))
    else:
        assert first in ELSEWHERE, f"{name_of(page)}: say in this test how `{command.line}` is checked"


def test_what_is_not_run_is_still_shown():
    lines = [command.line for _, command in shown()]
    for pattern, reason in NOT_RUN.items():
        assert any(re.search(pattern, line, re.I) for line in lines), f"{pattern} ({reason}) is on no page any more"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_in_running_text_are_ones_that_there_are(page):
    for named in _INLINE_COMMAND.findall(page.read_text(encoding="utf-8")):
        found, left = descend(named.split())
        assert found is not descend([])[0], f"there is no `layerwise {named}`"
        assert not (left and hasattr(found, "commands")), f"there is no `layerwise {named}`"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings_that_there_are(page):
    for target, heading in _LINK.findall(page.read_text(encoding="utf-8")):
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{name_of(page)} links to {target}"
        if heading:
            assert heading in headings(file), f"{name_of(page)} links to {target}#{heading}"


def headings(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as the site and code hosts make them."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip()) for title in titles}


def test_licences_are_those_of_what_is_installed():
    command = [sys.executable, "docs/licences.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"python docs/licences.py writes them anew.\n{done.stderr}"


def test_the_glossary_has_the_measures_that_are_declared():
    command = [sys.executable, "docs/measures.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def loaded_once():
    """Lets the commands of all pages share models: `layerwise.load` remembers what it returned."""
    from layerwise.tracing import loading

    remembered: dict[str, Any] = {}
    original = loading.load

    @functools.wraps(original)
    def load(name: Any, *, progress: Any = None, **options: Any) -> Any:
        if not isinstance(name, str):
            return original(name, progress=progress, **options)
        asked = {option: value for option, value in options.items() if value not in (None, False, "auto")}
        key = repr((str(name), sorted(asked.items())))
        if key not in remembered:
            remembered[key] = original(name, progress=progress, **options)
        return remembered[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "load", load)
        yield


@pytest.fixture(scope="module")
def tutorial_folder(tmp_path_factory, loaded_once):
    """Holds the tutorial's files and its run, which other pages go on with."""
    folder = tmp_path_factory.mktemp("tutorial")
    write_files(TUTORIAL, folder)
    [line] = [command.line for page, command in shown() if page == TUTORIAL and "layerwise run " in command.line]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", shlex.split(line))
        with pytest.raises(SystemExit) as ended:
            run_app()
    assert not ended.value.code
    return folder


def write_files(page: Path, folder: Path) -> None:
    for block in blocks(page):
        if block.file:
            (folder / block.file).write_text(block.text, encoding="utf-8")


@pytest.fixture
def folder(tmp_path, monkeypatch, tutorial_folder):
    """A folder such as a reader of any page may have: the tutorial's files and run, and GGUF files."""
    shutil.copytree(tutorial_folder, tmp_path, dirs_exist_ok=True)
    for name in ("model.gguf", "model-Q4_K_M.gguf", "model-Q8_0.gguf"):
        (tmp_path / name).symlink_to(bundled_file("smollm2-135m"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def my_lens(tmp_path_factory, smollm):
    """A lens of smollm2-135m, such as a reader may have fitted."""
    return saved_lens(tmp_path_factory.mktemp("fitted") / "my-lens", smollm)


def runs_something(page: Path) -> bool:
    return any(block.kind == "python" or any(map(is_run, commands(block))) for block in blocks(page))


@pytest.mark.parametrize("page", [page for page in PAGES if runs_something(page)], ids=name_of)
def test_what_a_page_shows_runs(page, folder, monkeypatch, capsys, request):
    here = blocks(page)
    if "./my-lens" in page.read_text(encoding="utf-8"):
        shutil.copytree(request.getfixturevalue("my_lens"), folder / "my-lens")
    write_files(page, folder)
    for command in [each for block in here for each in commands(block) if is_run(each)]:
        words = words_of(command)
        out = words[words.index("--out") + 1] if words[1] == "run" and "--out" in words else None
        if out and "--resume" not in words:  # the tutorial's run is there already
            shutil.rmtree(folder / out, ignore_errors=True)
        code, printed = in_a_new_process(words) if "--memory" in words else here_and_now(words, monkeypatch, capsys)
        fails = any(line.startswith("Error:") for line in command.prints)
        assert code == fails, f"{command.line}\n{printed}"
        expect_in_order(command, printed)
    program = "\n".join(block.text for block in here if block.kind == "python")
    if page in BY_ITSELF:
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    elif program:
        expect_own_imports(program)
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            exec(compile(program, name_of(page), "exec"), {"__name__": "__main__"})


BY_ITSELF = {ROOT / "README.md", ROOT / "docs" / "how-to" / "larger-than-memory.md"}
"""Pages whose Python has a process of its own: the first that anybody tries, and the one with a budget of memory."""


def expect_own_imports(program: str) -> None:
    """Fail if a program names a module that only somebody else's import put into layerwise."""
    tree = ast.parse(program)
    called = {
        name.asname or name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for name in node.names
        if name.name == "layerwise"
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not any(name.name.startswith("layerwise.") for name in node.names), "import names from it"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in called:
            assert node.attr in layerwise.__all__, f"nothing imports layerwise.{node.attr}"


def test_a_program_that_leans_on_anothers_imports_is_noticed():
    expect_own_imports("import layerwise as lw\nlw.load")
    with pytest.raises(AssertionError, match=r"layerwise\.tracing"):
        expect_own_imports("import layerwise as lw\nlw.tracing.model.Model")


def here_and_now(words: list[str], monkeypatch: Any, capsys: Any) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        run_app()
    return int(ended.value.code or 0), "".join(capsys.readouterr())


def in_a_new_process(words: list[str]) -> tuple[int, str]:
    """Run where a budget of memory is not used up by the models that these tests share."""
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def expect_in_order(command: Command, printed: str) -> None:
    """Fail unless all lines that a page shows were printed, in this order; the page may leave some out."""
    lines = iter([" ".join(line.split()) for line in printed.splitlines()])
    for expected in [" ".join(line.split()) for line in command.prints if line.strip(" …")]:
        assert any(expected == line for line in lines), f"{command.line}\nexpected: {expected}\n{printed}"


def test_the_bundled_models_are_named_as_in_the_table():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in readme for name in BUNDLED)


def test_the_reader_of_pages_sees_files_commands_and_what_they_print(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "`a.csv`:\n\n```csv\nx,y\n```\n\n"
        "- in a list:\n\n    ```bash\n    layerwise run \\\n        a.toml   # why\n    ```\n\n"
        "```console\n$ layerwise questions\nset\n$ make demo\n```\n",
        encoding="utf-8",
    )
    table, bash, console = blocks(page)
    assert (table.file, table.text) == ("a.csv", "x,y\n")
    assert [words_of(command) for command in commands(bash)] == [["layerwise", "run", "a.toml"]]
    assert commands(console) == [Command("layerwise questions", ("set",)), Command("make demo")]
