"""The hub client's download is replaced here; its errors are the real ones, built as it builds them."""

import errno
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors as hub_errors

from layerwise.errors import (
    GatedModelError,
    ModelError,
    OfflineError,
    UnknownModelError,
    UnsupportedModelError,
)
from layerwise.models.sources import hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"

# httpx, or httpx2 since huggingface_hub 2
http: Any = importlib.import_module(hub_errors.HfHubHTTPError.__bases__[0].__module__.split(".")[0])


def http_error(kind: type[hub_errors.HfHubHTTPError], status: int) -> hub_errors.HfHubHTTPError:
    request = http.Request("GET", "https://huggingface.co/api/models/org/name")
    return kind(f"{status} Client Error.", response=http.Response(status, request=request))


class Download:
    """Stands in for `snapshot_download`: a local answer, an online answer, and a list of the calls."""

    def __init__(self, local: Path | Exception, online: Path | Exception) -> None:
        self.local, self.online, self.calls = local, online, []

    def __call__(self, repo_id: str, **options: Any) -> str:
        self.calls.append({"repo_id": repo_id, **options})
        answer = self.local if options.get("local_files_only") else self.online
        if isinstance(answer, Exception):
            raise answer
        return str(answer)


@pytest.fixture
def hub_answers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Download]:
    def install(online: Path | Exception, local: Path | Exception | None = None) -> Download:
        download = Download(local or hub_errors.LocalEntryNotFoundError("not cached"), online)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
        return download

    return install


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    folder = tmp_path / "models--org--name" / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_whole_snapshot_in_the_cache_needs_no_network(hub_answers: Any, snapshot: Path):
    download = hub_answers(online=AssertionError("no network"), local=snapshot)
    assert hub.fetch("org/name", "v1") == snapshot
    assert [call["local_files_only"] for call in download.calls] == [True]
    assert download.calls[0]["revision"] == "v1"


def test_partial_snapshot_is_completed_online(hub_answers: Any, snapshot: Path, tmp_path: Path):
    partial = tmp_path / "partial"
    partial.mkdir()
    (partial / "config.json").write_text("{}")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (partial / "model.safetensors.index.json").write_text(json.dumps(index))
    (partial / "model-1.safetensors").write_bytes(b"weights")
    download = hub_answers(online=snapshot, local=partial)
    told: list[Any] = []
    assert hub.fetch("org/name", progress=lambda *step: told.append(step)) == snapshot
    assert len(download.calls) == 2
    assert told[0] == ("Fetching org/name", 0, None)
    assert told[-1][1] == told[-1][2] == 9


def test_no_pickle_and_no_code_is_asked_for(hub_answers: Any, snapshot: Path):
    download = hub_answers(online=snapshot)
    hub.fetch("org/name")
    wanted = download.calls[-1]["allow_patterns"]
    files = [
        "model.safetensors",
        "tokenizer.json",
        "pytorch_model.bin",
        "model.pt",
        "modeling_x.py",
        "a.ckpt",
    ]
    kept = list(huggingface_hub.utils.filter_repo_objects(files, allow_patterns=wanted))
    assert kept == ["model.safetensors", "tokenizer.json"]


@pytest.mark.parametrize(
    ("raised", "expected", "said"),
    [
        (http_error(hub_errors.GatedRepoError, 403), GatedModelError, "https://huggingface.co/org/name"),
        (http_error(hub_errors.HfHubHTTPError, 401), GatedModelError, "hf auth login"),
        (http_error(hub_errors.RepositoryNotFoundError, 401), UnknownModelError, "HF_TOKEN"),
        (hub_errors.HFValidationError("bad id"), UnknownModelError, "no model"),
        (http_error(hub_errors.RevisionNotFoundError, 404), UnknownModelError, "no revision 'v9'"),
        (http_error(hub_errors.HfHubHTTPError, 503), OfflineError, "503"),
        (hub_errors.LocalEntryNotFoundError("cannot find"), OfflineError, "Check the network"),
        (hub_errors.OfflineModeIsEnabled("offline"), OfflineError, "HF_HUB_OFFLINE"),
        (ConnectionError("reset"), OfflineError, "reset"),
        (http.ConnectError("no route"), OfflineError, "no route"),
        (RuntimeError("xet: transfer failed"), OfflineError, "xet"),
        (OSError(errno.ENOSPC, "No space left on device"), ModelError, "HF_HOME"),
    ],
)
def test_hub_error_says_what_to_do(hub_answers: Any, raised: Exception, expected: type, said: str):
    hub_answers(online=raised)
    with pytest.raises(expected, match=said) as caught:
        hub.fetch("org/name", "v9")
    assert type(caught.value) is expected
    assert caught.value.__cause__ is raised


@pytest.mark.parametrize("offline", [True, False])
def test_offline_mode_is_said_to_be_on_when_it_is(hub_answers: Any, monkeypatch: pytest.MonkeyPatch, offline: bool):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    hub_answers(online=hub_errors.LocalEntryNotFoundError("the client's own words"))
    with pytest.raises(OfflineError) as caught:
        hub.fetch("org/name")
    assert ("offline mode is on (HF_HUB_OFFLINE)" in str(caught.value)) == offline
    assert ("the client's own words" in str(caught.value)) != offline


def test_near_hub_id_is_suggested(hub_answers: Any):
    hub_answers(online=http_error(hub_errors.RepositoryNotFoundError, 404))
    with pytest.raises(UnknownModelError, match="Did you mean Qwen/Qwen3-8B"):
        hub.fetch("Qwen/Qwen3-8")


def test_repository_of_pickles_is_refused(hub_answers: Any, tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    hub_answers(online=tmp_path)
    with pytest.raises(UnsupportedModelError, match="unpickling"):
        hub.fetch("org/name")


def test_commit_is_read_from_a_snapshot_path_only(snapshot: Path):
    assert hub.commit_of(snapshot) == COMMIT
    assert hub.commit_of(snapshot.parent) is None
    assert hub.commit_of(Path("/models") / COMMIT) is None
