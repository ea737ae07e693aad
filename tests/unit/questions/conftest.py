import pytest

from layerwise.errors import QuestionError
from layerwise.questions.sets import QuestionSet, open_set

from .rivers import RIVERS, TOML


@pytest.fixture
def write(tmp_path):
    """Write files by name; return the first one's."""

    def call(**files: str) -> str:
        for name, content in files.items():
            (tmp_path / name.replace("_", ".")).write_text(content, encoding="utf-8")
        return next(iter(files)).replace("_", ".")

    return call


@pytest.fixture
def opened(write, tmp_path):
    """Open a set made of these files."""
    return lambda **files: open_set(write(**files), tmp_path)


@pytest.fixture
def refused(opened, tmp_path):
    """Return what is said about a set made of these files, without their folder."""

    def call(**files: str) -> str:
        with pytest.raises(QuestionError) as raised:
            opened(**files)
        return str(raised.value).replace(f"{tmp_path}/", "")

    return call


@pytest.fixture
def rivers(opened) -> QuestionSet:
    return opened(rivers_toml=TOML, rivers_csv=RIVERS)
