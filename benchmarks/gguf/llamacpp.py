"""llama.cpp itself as a reader of the same files, in a process of its own: it ends the process where it can't go on."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.gguf.vocabulary import text, token_ids


class LlamaCppError(Exception):
    """llama.cpp does not read the file."""


def available(python: str) -> bool:
    """Return whether this Python can import llama_cpp."""
    return subprocess.run([python, "-c", "import llama_cpp"], capture_output=True, check=False).returncode == 0


def logprobs(python: str, path: Path, lengths: Sequence[int]) -> list[torch.Tensor]:
    """Return log-probabilities [position, token] of the text for each length, by llama.cpp in float32.

    Raises:
        LlamaCppError: with the last of what it said.
    """
    asked = {"file": str(path), "texts": [token_ids(text(length)) for length in lengths]}
    done = subprocess.run(
        [python, "-c", _READER], input=json.dumps(asked).encode(), capture_output=True, cwd=path.parent, check=False
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise LlamaCppError(next((line for line in said if "error" in line.lower() or "ASSERT" in line), said[-1]))
    logits = torch.from_numpy(np.load(path.with_suffix(".logits.npy")))
    return [each.log_softmax(-1) for each in logits.split(list(lengths))]


_READER = """
import json, sys
import numpy as np
from llama_cpp import Llama

asked = json.load(sys.stdin)
found = []
for ids in asked["texts"]:
    size = max(64, len(ids))
    model = Llama(
        asked["file"], n_ctx=size, n_batch=size, n_ubatch=size, n_threads=1, n_threads_batch=1, logits_all=True,
        type_k=0, type_v=0, flash_attn=False, swa_full=True, verbose=True, n_gpu_layers=0,
    )
    model.eval(ids)
    found.append(np.array(model.scores[: len(ids)], dtype=np.float32))
    model.close()
np.save(asked["file"].removesuffix(".gguf") + ".logits.npy", np.concatenate(found))
"""
