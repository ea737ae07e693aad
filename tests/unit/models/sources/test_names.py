from pathlib import Path

import pytest

from layerwise.errors import CorruptFileError, ModelError, UnknownModelError
from layerwise.models.sources.bundled import BUNDLED
from layerwise.models.sources.names import ALIASES, DEFAULT_MODEL, Source, resolve, suggestions


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_default_model_is_bundled():
    assert DEFAULT_MODEL in BUNDLED


@pytest.mark.parametrize("name", ["gemma-3-270m", "Gemma-3-270M", " smollm2-135m "])
def test_bundled_name_is_found_in_any_case(name: str):
    assert resolve(name) == Source(name, "bundled", name.strip().lower())


@pytest.mark.parametrize("name", ["qwen3-8b", "Qwen3-8B"])
def test_alias_stands_for_its_hub_id(name: str):
    assert resolve(name, "main") == Source(name, "hub", "Qwen/Qwen3-8B", "main")


def test_organisation_and_name_is_a_hub_id():
    assert resolve("EleutherAI/pythia-70m.v0") == Source("EleutherAI/pythia-70m.v0", "hub", "EleutherAI/pythia-70m.v0")


def test_existing_folder_wins_over_hub_id(tmp_path: Path):
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert resolve("org/name") == Source("org/name", "folder", str(tmp_path / "org" / "name"))


def test_gguf_file_is_found_by_suffix_or_by_magic(tmp_path: Path):
    (tmp_path / "a.GGUF").write_bytes(b"anything")
    (tmp_path / "blob").write_bytes(b"GGUF....")
    assert resolve("a.GGUF").kind == "gguf"
    assert resolve("./blob") == Source("./blob", "gguf", str(tmp_path / "blob"))


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "m").mkdir()
    assert resolve("~/m").location == str(tmp_path / "m")


def test_file_of_another_format_is_refused(tmp_path: Path):
    (tmp_path / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    with pytest.raises(CorruptFileError, match="not a GGUF file"):
        resolve("model.safetensors")


def test_path_object_is_never_a_model_name():
    with pytest.raises(UnknownModelError, match="no file or folder"):
        resolve(Path("gemma-3-270m"))


@pytest.mark.parametrize("name", ["./missing", "/missing", "~/missing", "missing.gguf", "a/b/c", "~nobody/x"])
def test_missing_path_is_said_to_be_missing(name: str):
    with pytest.raises(UnknownModelError, match="no file or folder"):
        resolve(name)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("gemma3-270m", "gemma-3-270m"),
        ("smollm-135m", "smollm2-135m"),
        ("qwen3_8B", "qwen3-8b"),
        ("mistral", "mistral-7b"),
    ],
)
def test_near_match_is_suggested(name: str, meant: str):
    with pytest.raises(UnknownModelError, match=f"Did you mean .*{meant}"):
        resolve(name)


@pytest.mark.parametrize("name", ["", "zzz", "a b", "a\0b", "x" * 5000, "-org/name", "org/"])
def test_unknown_name_lists_what_there_is(name: str):
    with pytest.raises(UnknownModelError, match="organisation/name") as caught:
        resolve(name)
    assert "Did you mean" not in str(caught.value)
    assert all(known in str(caught.value) for known in [*BUNDLED, *ALIASES])


def test_message_cannot_steer_the_terminal():
    with pytest.raises(UnknownModelError) as caught:
        resolve("\x1b[31mred")
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("name", ["gemma-3-270m", "."])
def test_revision_is_refused_off_the_hub(name: str):
    with pytest.raises(ModelError, match="only models on the hub have revisions"):
        resolve(name, "main")


def test_hub_ids_of_aliases_are_suggested():
    assert "Qwen/Qwen3-8B" in suggestions("qwen/qwen3-8")
