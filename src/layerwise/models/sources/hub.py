"""Models from the Hugging Face hub: safetensors and text files only, from the local cache if whole."""

import errno
import json
import re
from pathlib import Path

from layerwise.errors import (
    GatedModelError,
    LayerwiseError,
    ModelError,
    OfflineError,
    UnknownModelError,
    UnsupportedModelError,
)
from layerwise.models.sources.names import suggestions
from layerwise.text import harmless
from layerwise.types import Progress

# No pickles (.bin, .pt), and code only when it was asked for: neither weights nor repository get to run any unasked.
CODE = "*.py"
PATTERNS = [
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "tekken.json",
    "adapter_config.json",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "*.jinja",
]


def fetch(
    repo_id: str, revision: str | None = None, progress: Progress | None = None, *, with_code: bool = False
) -> Path:
    """Return the folder of a hub repository's snapshot, from the hub's local cache where it is whole.

    With `with_code`, its Python files come too.

    With the snapshot cached, no network is needed; a branch is then what it was when fetched.
    The hub client draws its own bars while it downloads; `progress` is told of start and end.

    Raises:
        UnknownModelError: The hub has no such repository or revision, or hides it.
        GatedModelError: A login or an accepted licence is needed.
        OfflineError: The hub cannot be reached and the snapshot isn't cached whole.
        UnsupportedModelError: The repository holds no safetensors.
        ModelError: The hub's cache cannot be written.
    """
    folder = cached(repo_id, revision)
    if folder is not None and with_code and not any(folder.glob(CODE)):
        folder = None
    if folder is None:
        if progress:
            progress(f"Fetching {repo_id}", 0, None)
        folder = _download(repo_id, revision, [*PATTERNS, CODE] if with_code else PATTERNS)
        if progress:
            size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            progress(f"Fetching {repo_id}", size, size)
    if not any(folder.glob("*.safetensors")):
        raise UnsupportedModelError(
            f"{harmless(repo_id)} has no *.safetensors at its top level. layerwise does not read pickled "
            "weights (.bin, .pt), because unpickling a file from the internet can run any code. Look for a "
            "safetensors revision or conversion of the model; of a GGUF repository, download the .gguf "
            "file and give its path."
        )
    return folder


def fetch_file(repo_id: str, filename: str, revision: str) -> Path:
    """Return one file of a repository, from the hub's local cache where it is there.

    Raises:
        UnknownModelError, GatedModelError, OfflineError, ModelError: as `fetch`.
    """
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError

    network_error: type[Exception] = HfHubHTTPError.__bases__[0]
    try:
        return Path(huggingface_hub.hf_hub_download(repo_id, filename, revision=revision))
    except (OSError, EntryNotFoundError, HFValidationError, network_error, RuntimeError) as error:
        raise _explained(error, repo_id, revision) from error


def commit_of(folder: Path) -> str | None:
    """Return the commit hash of a snapshot folder in the hub's cache, or None for any other folder."""
    is_commit = folder.parent.name == "snapshots" and re.fullmatch(r"[0-9a-f]{40}", folder.name)
    return folder.name if is_commit else None


def cached(repo_id: str, revision: str | None = None) -> Path | None:
    """Return the folder of a snapshot that lies whole in the hub's local cache, or None."""
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError

    try:
        folder = huggingface_hub.snapshot_download(
            repo_id, revision=revision, allow_patterns=PATTERNS, local_files_only=True
        )
    except (OSError, EntryNotFoundError, HFValidationError):
        return None
    return Path(folder) if _has_all_weights(Path(folder)) else None


def _has_all_weights(snapshot: Path) -> bool:
    """Return whether config and weights are there; older hub clients also return part of a snapshot."""
    if not (snapshot / "config.json").is_file():
        return False
    if (snapshot / "model.safetensors").is_file():
        return True
    try:
        index = json.loads((snapshot / "model.safetensors.index.json").read_text(encoding="utf-8"))
        return all((snapshot / name).is_file() for name in set(index["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _download(repo_id: str, revision: str | None, patterns: list[str]) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError

    # A dropped connection comes as httpx.HTTPError, or httpx2.HTTPError since huggingface_hub 2.
    network_error: type[Exception] = HfHubHTTPError.__bases__[0]
    try:
        return Path(huggingface_hub.snapshot_download(repo_id, revision=revision, allow_patterns=patterns))
    # hf_xet, which moves large files, reports its troubles as RuntimeError.
    except (OSError, EntryNotFoundError, HFValidationError, network_error, RuntimeError) as error:
        raise _explained(error, repo_id, revision) from error


def _explained(error: BaseException, repo_id: str, revision: str | None) -> LayerwiseError:
    """Return the hub client's error as one of ours, with what to do about it."""
    from huggingface_hub import constants
    from huggingface_hub import errors as hub

    shown, page = harmless(repo_id), f"https://huggingface.co/{repo_id}"
    status = error.response.status_code if isinstance(error, hub.HfHubHTTPError) else None
    if isinstance(error, hub.GatedRepoError) or (
        status in (401, 403) and not isinstance(error, hub.RepositoryNotFoundError)
    ):
        return GatedModelError(
            f"The hub gives {shown} only to accounts that accepted its licence. Accept it at {page}, then "
            "run `hf auth login` or set HF_TOKEN, and try again."
        )
    if isinstance(error, hub.RepositoryNotFoundError | hub.HFValidationError):
        near = suggestions(repo_id)
        meant = f" Did you mean {' or '.join(near)}?" if near else ""
        return UnknownModelError(
            f"The hub has no model {shown}, or it is private.{meant} For a private one run `hf auth login` "
            "or set HF_TOKEN first."
        )
    if isinstance(error, hub.RevisionNotFoundError):
        return UnknownModelError(
            f"{shown} has no revision {harmless(str(revision))!r}. Give a branch, tag or commit listed at "
            f"{page}/commits."
        )
    system_error = error.errno if isinstance(error, OSError) else None
    if system_error in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS):
        return ModelError(
            f"{shown} could not be written to the hub's cache: {error}. Make room or give permission, or set "
            "HF_HOME to another folder."
        )
    if isinstance(error, hub.OfflineModeIsEnabled) or constants.HF_HUB_OFFLINE:
        return OfflineError(
            f"{shown} is not whole in the hub's cache on this machine, and offline mode is on (HF_HUB_OFFLINE), so "
            "it was not looked for on the hub. Unset HF_HUB_OFFLINE to download it, or give a local folder."
        )
    said = harmless(str(error).strip().partition("\n")[0]).rstrip(".")[:400]
    return OfflineError(
        f"{shown} is not whole in the hub's cache on this machine, and the hub could not be reached: "
        f"{said}. Check the network, or give a local folder."
    )
