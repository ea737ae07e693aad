"""The package as others get it: sdist and wheel build, hold everything, and run from an environment of their own."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("build", reason="build comes with the extra dev")

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "layerwise"


def run(*command: str | Path, **variables: str) -> str:
    """Run a command and return what it prints; what it says where it fails is in the error."""
    environment = {**os.environ, **variables}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Returns (sdist, wheel), the wheel being built from the sdist as an installer would."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT)
    [sdist], [wheel] = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """Returns the folder of commands of an environment that holds the wheel, and sees our dependencies."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    commands = folder / ("Scripts" if os.name == "nt" else "bin")
    options = ("--quiet", "--no-deps", "--no-index")
    run(sys.executable, "-m", "pip", "--python", commands / "python", "install", *options, built[1])
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(run(commands / "python", "-c", where).strip())
    # Only this folder: what it says about editable installations in files of its own is not read.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return commands


def test_the_wheel_holds_every_file_of_the_package(built):
    expected = {
        f"layerwise/{file.relative_to(SOURCE).as_posix()}"
        for file in SOURCE.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    names = zipfile.ZipFile(built[1]).namelist()
    assert {name for name in names if name.startswith("layerwise/")} == expected
    assert any(name.endswith("/licenses/LICENSE") for name in names)


@pytest.mark.parametrize(
    "data",
    [
        "questions/data/capitals.csv",
        "questions/data/capitals.toml",
        "report/templates/study.md.j2",
        "reference/data/README.md",
        "models/sources/capabilities.json",
        "view/web/",
    ],
)
def test_the_wheel_holds_what_is_no_code(built, data):
    assert any(name.startswith(f"layerwise/{data}") for name in zipfile.ZipFile(built[1]).namelist())


def test_the_sdist_holds_what_the_wheel_is_built_from_and_nothing_made_here(built):
    with tarfile.open(built[0]) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "src/layerwise/__init__.py"} <= names
    made = ("runs/", "dist/", ".venv/", "__pycache__", ".pytest_cache", ".hypothesis", ".ruff_cache")
    assert not [name for name in names if name.startswith(made) or "__pycache__" in name]


def test_the_installed_package_is_the_one_that_was_built(installed):
    place = run(installed / "python", "-c", "import layerwise; print(layerwise.__file__)").strip()
    assert Path(place).is_relative_to(installed.parent)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--help"], "layerwise trace"),
        (["questions", "list"], "capitals"),
        (["questions", "validate", "capitals"], "168 items"),
        (["trace", "--help"], "Example: layerwise trace"),
    ],
)
def test_the_installed_command_runs(installed, arguments, said):
    printed = run(installed / "layerwise", *arguments, COLUMNS="200")
    assert said in " ".join(printed.split())


def test_the_version_is_the_one_of_the_project(built, installed):
    code = "from importlib.metadata import version; print(version('layerwise'))"
    assert f"-{run(installed / 'python', '-c', code).strip()}-" in built[1].name
