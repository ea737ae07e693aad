"""Rooms import only from rooms before them, as the architecture draws it; and no file is long without a reason."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import layerwise

LEAVES = {
    *("types", "lens_spec", "sites", "errors", "text", "files"),
    *("charts", "compiled", "display", "policy", "versions", "interrupts"),
}
"""Files that every room may import, and that import one another only."""

ROOMS = [
    "models",
    "questions",
    "capture",
    "interventions",
    "readout",
    "lenses",
    "fitting",
    "measures",
    "tracing",
    "causal",
    "evaluation",
    "studies",
    "store",
    "execution",
    "analysis",
    "reference",
    "report",
    "view",
    "cli",
]
"""In order: each may import those before it."""

FORBIDDEN = {(made, room) for made in ("store", "analysis", "report") for room in ("models", "capture", "readout")}
"""Not allowed although the order would: runs are stored and told without a model."""

ONLY_IN = {"transformer_lens": "models"}

INSIDE = {
    "models": [
        "machine",
        "sources",
        "libraries",
        "tokenizing",
        "anatomy",
        "weights",
        "gguf",
        "checkpoint",
        "output_head",
        "residency",
        "loading",
        "health",
    ]
}
"""The folders of a room whose folders are in an order too: each may import those before it."""

LONGEST = 300
"""Lines of a file that gives no reason in its docstring."""


def imports_of(source: str, module: str) -> Iterator[str]:
    """Return the full names of what a module imports, late imports too, those for type checkers not."""
    tree = ast.parse(source)
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = module.split(".")[: -node.level] if node.level else []
            origin = ".".join([*package, *([node.module] if node.module else [])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str))


def wrong_arrows(source: str, module: str) -> list[str]:
    """Return one line for each import in `module` that the architecture does not allow."""
    room = module.split(".")[1]
    found = []
    for name in imports_of(source, module):
        top, *inside = name.split(".")
        if top in ONLY_IN and room != ONLY_IN[top]:
            found.append(f"{module} imports {name}: only {ONLY_IN[top]} may")
        if top == "layerwise" and inside and not allowed(room, inside[0]):
            found.append(f"{module} imports {name}: {room} must not depend on {inside[0]}")
        if top == "layerwise" and inside[:1] == [room] and room in INSIDE and not in_order(INSIDE[room], module, name):
            found.append(f"{module} imports {name}: its folder comes later in {room}")
    return found


def in_order(folders: list[str], module: str, name: str) -> bool:
    own, other = (path.split(".")[2] for path in (module, name))
    return folders.index(other) <= folders.index(own)


def allowed(room: str, other: str) -> bool:
    if other in LEAVES or other == room or other.startswith("__"):
        return True
    if room in LEAVES or other not in ROOMS or room not in ROOMS or (room, other) in FORBIDDEN:
        return False
    return ROOMS.index(other) < ROOMS.index(room)


def modules() -> list[tuple[str, Path]]:
    root = Path(layerwise.__file__).parent
    files = [file for file in sorted(root.rglob("*.py")) if file.parent != root or not file.stem.startswith("__")]
    return [(".".join(["layerwise", *file.relative_to(root).with_suffix("").parts]), file) for file in files]


def test_every_file_stands_in_a_known_room():
    rooms = {name.split(".")[1] for name, _ in modules()} - {"__main__"}
    assert rooms <= {*LEAVES, *ROOMS}, "a new room needs its place in this test"
    assert {"models", "capture", "readout", "tracing"} <= rooms


@pytest.mark.parametrize("room", INSIDE)
def test_a_room_whose_folders_are_in_order_has_nothing_beside_them(room):
    held = {each.name for each in (Path(layerwise.__file__).parent / room).iterdir()}
    assert held - {"__init__.py", "__pycache__"} == {*INSIDE[room]}


def test_no_import_points_backwards():
    wrong = [line for name, file in modules() for line in wrong_arrows(file.read_text("utf-8"), name)]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("layerwise.models.tokenizing.tokens", "from layerwise.tracing.trace import Trace"),
        ("layerwise.models.tokenizing.tokens", "import layerwise.tracing.trace"),
        ("layerwise.models.tokenizing.tokens", "def late():\n    from layerwise.questions import answers"),
        ("layerwise.models.tokenizing.tokens", "from ...readout import kernel"),
        ("layerwise.models.tokenizing.tokens", "from layerwise import readout"),
        ("layerwise.readout.kernel", "from layerwise.attention.patterns import x"),
        ("layerwise.report.pages", "from layerwise.models.loading.by_name import load_model"),
        ("layerwise.report.pages", "from layerwise.capture.sweep import Sweep"),
        ("layerwise.tracing.model", "def late():\n    import importlib\n    importlib.import_module('layerwise.cli')"),
        ("layerwise.text", "from layerwise.models.tokenizing.tokens import Tokenizer"),
        ("layerwise.tracing.model", "from transformer_lens import HookedTransformer"),
        ("layerwise.tracing.model", "if TYPE_CHECKING:\n    pass\nelse:\n    import layerwise.store"),
        ("layerwise.models.machine.device", "from layerwise.models.sources.names import resolve"),
        ("layerwise.models.machine.device", "from layerwise.models import sources"),
        ("layerwise.models.gguf.header", "def late():\n    from layerwise.models.loading.by_name import load_model"),
    ],
)
def test_the_reader_of_imports_sees_what_points_backwards(module, source):
    [line] = wrong_arrows(source, module)
    assert line.startswith(f"{module} imports ")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("layerwise.tracing.model", "from layerwise.models.loading.loaded import LoadedModel"),
        ("layerwise.tracing.model", "from . import trace\nfrom .trace import Trace"),
        ("layerwise.report.pages", "from layerwise.store.reading import open_run"),
        ("layerwise.text", "from layerwise.errors import LayerwiseError"),
        (
            "layerwise.models.tokenizing.tokens",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import layerwise.cli",
        ),
        (
            "layerwise.models.libraries.bridge",
            "def late():\n    from transformer_lens.model_bridge import TransformerBridge",
        ),
        ("layerwise.models.loading.loaded", "from layerwise.models.machine.device import placement_for"),
        ("layerwise.models.loading.loaded", "from layerwise.models.loading import random_weights"),
        ("layerwise.tracing.model", "from layerwise.models import machine"),
    ],
)
def test_the_reader_of_imports_lets_forward_arrows_pass(module, source):
    assert wrong_arrows(source, module) == []


def is_too_long(source: str) -> bool:
    """Return whether a file is long, and the last paragraph of its docstring does not begin with ``Long because``."""
    reason = (ast.get_docstring(ast.parse(source)) or "").split("\n\n")[-1]
    return len(source.splitlines()) > LONGEST and not reason.startswith("Long because ")


def test_a_file_is_not_long_or_says_why_in_its_docstring():
    long = [name for name, file in modules() if is_too_long(file.read_text("utf-8"))]
    assert not long, f"more than {LONGEST} lines: split it, or end its docstring in a paragraph 'Long because …'"


@pytest.mark.parametrize(
    ("docstring", "lines", "too_long"),
    [
        ("What it does.", LONGEST, False),
        ("What it does.", LONGEST + 1, True),
        ("What it does.\n\nLong because it is one table.\n", LONGEST + 1, False),
        ("Long because it is one table.\n\nWhat it does.\n", LONGEST + 1, True),
    ],
)
def test_only_the_last_paragraph_gives_a_reason(docstring, lines, too_long):
    head = f'"""{docstring}"""\n'
    assert is_too_long(head + "x = 1\n" * (lines - head.count("\n"))) == too_long
