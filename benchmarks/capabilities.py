"""Which architectures layerwise reads: each that TransformerLens's bridge knows is tried with a tiny random model.

Writes src/layerwise/models/sources/capabilities.json, in a few minutes:

  python -m benchmarks.capabilities
"""

import json
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

import layerwise as lw
from benchmarks.gguf.__main__ import run
from benchmarks.gguf.cases import CASES
from benchmarks.progress import tell
from benchmarks.tiny import always_streamed, byte_tokenizer, save, tiny_config, tiny_model
from layerwise.errors import LayerwiseError, UnsupportedModelError
from layerwise.models.anatomy.decoder import text_config
from layerwise.models.libraries.quiet import quiet_transformers
from layerwise.models.loading.decoders import expect_decoder
from layerwise.models.sources.capabilities import FILE, YES, Capability

_PROMPT = "The sky is"
_LARGEST = 20_000_000
"""Parameters of a model that is still tried."""

_CODE = "no: not in transformers; its code comes with the weights and is not run"
_DIFFUSION = "no: generates by diffusion, so its positions don't each predict the next token"
_OWN_FORMAT = "no: TransformerLens's own format, not a checkpoint of transformers"

_ELSEWHERE = {
    **dict.fromkeys(("BD3LM", "DreamModel", "GiddForDiffusionLM", "LLaDA2MoeModelLM", "LLaDAModelLM"), _DIFFUSION),
    **dict.fromkeys(
        ("GPT2LMHeadCustomModel", "MinGPTForCausalLM", "NanoGPTForCausalLM", "NeelSoluOldForCausalLM"), _OWN_FORMAT
    ),
    **dict.fromkeys(("TransformerLensNative", "TransformerLensPretrain"), _OWN_FORMAT),
}
"""Of those without a class in transformers, what stands in the way apart from that."""

_ALSO_CALLED = {
    "Gemma1ForCausalLM": "GemmaForCausalLM",
    "JetMoEForCausalLM": "JetMoeForCausalLM",
    "MPTForCausalLM": "MptForCausalLM",
    "NeoForCausalLM": "GPTNeoForCausalLM",
    "NeoXForCausalLM": "GPTNeoXForCausalLM",
    "PhiMoEForCausalLM": "PhimoeForCausalLM",
    "T5WithLMHeadModel": "T5ForConditionalGeneration",
}
"""Other names, and the class that transformers reads such checkpoints with."""


def main() -> None:
    """Try all architectures and write the table."""
    names = known_architectures()
    rows = {}
    for done, name in enumerate(names):
        tell(f"{done + 1} of {len(names)}: {name}")
        row = asdict(capability_of(name))
        rows[row.pop("architecture")] = row
    table = {package.replace("-", "_"): version(package) for package in ("transformers", "transformer-lens")}
    FILE.write_text(json.dumps(table | {"architectures": rows}, indent=1) + "\n", encoding="utf-8")
    readable = sum(row["lens"] == YES for row in rows.values())
    print(f"{readable} of {len(rows)} architectures are read: {FILE}")


def known_architectures() -> list[str]:
    """Return the class names that TransformerLens's bridge has adapters for, sorted."""
    from transformer_lens.factories.architecture_adapter_factory import SUPPORTED_ARCHITECTURES

    return sorted(SUPPORTED_ARCHITECTURES, key=str.lower)


def capability_of(name: str) -> Capability:
    """Return what was found out about one architecture by trying."""
    import transformers

    hf_class = getattr(transformers, _ALSO_CALLED.get(name, name), None)
    if hf_class is None:
        return _nothing(name, _ELSEWHERE.get(name, _CODE))
    with warnings.catch_warnings(), quiet_transformers():
        warnings.simplefilter("ignore")
        try:
            expect_decoder(_outline(hf_class, name), name)
        except UnsupportedModelError as error:
            return _nothing(name, _reason(error))
        try:
            hf_model = _build(hf_class.config_class)
        except Exception as error:  # configuration classes and models raise what they like
            return _nothing(name, f"not tried: no tiny model could be made ({_first_line(error)})")
        with tempfile.TemporaryDirectory() as folder:
            return _try(name, save(hf_model, byte_tokenizer(), Path(folder)))


def _outline(hf_class: Any, name: str) -> dict[str, Any]:
    """Return what a checkpoint's configuration says before anything is built."""
    config = hf_class.config_class
    encoder_decoder = config().is_encoder_decoder if config.__name__ != "AutoConfig" else False
    return {"model_type": config.model_type, "architectures": [name], "is_encoder_decoder": encoder_decoder}


def _build(config_class: type) -> Any:
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    config = tiny_config(config_class)
    with init_empty_weights():
        size = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
    if size > _LARGEST:
        raise ValueError(f"{size:,} parameters are left at the smallest settings known")
    return tiny_model(config)


def _try(name: str, folder: Path) -> Capability:
    """Return what works with a checkpoint."""
    from layerwise.capture.shared_beginnings import can_share

    try:
        model = lw.load(folder, device="cpu")
        trace = model.trace(_PROMPT, positions="all")
    except Exception as error:  # transformers' own, where it cannot run what it has built
        return _nothing(name, _reason(error))
    loaded = model._loaded
    shares = can_share(loaded.parts, loaded.hf.config)
    return Capability(
        name,
        lens=YES,
        streamed=_outcome(lambda: _compare(trace.top_logprobs, _streamed(folder))),
        shared_beginnings=YES if shares else "no: it remembers more than keys and values",
        gguf=_gguf(loaded.hf.config),
        bridge=_outcome(lambda: _compare(trace.top_logprobs, _through_bridge(model, trace))),
    )


def _nothing(name: str, reason: str) -> Capability:
    return Capability(name, reason, *["–"] * 4)


def _streamed(folder: Path) -> np.ndarray:
    with always_streamed():
        return lw.load(folder, device="cpu").trace(_PROMPT, positions="all").top_logprobs


def _through_bridge(model: lw.Model, trace: lw.Trace) -> np.ndarray:
    from transformer_lens.tools.analysis import logit_lens

    ids = torch.tensor([[token.id for token in trace.tokens]])
    read = logit_lens(model.bridge, ids, top_k=trace.top_ids.shape[-1], return_type="log_probs", positions=None)
    return read.values[:, 0].numpy()


def _compare(ours: np.ndarray, others: np.ndarray) -> str:
    """Return whether log-probabilities are the same to rounding in float32."""
    if ours.shape != others.shape:
        return f"no: {len(others)} layers instead of {len(ours)}"
    apart = float(np.abs(ours - others).max())
    return YES if apart <= 1e-3 else f"no: log-probabilities differ by {apart:.2g}"


def _gguf(config: Any) -> str:
    """Return whether files of the architecture are read as their originals, with all settings that were tried."""
    cases = [case for case in CASES if case.config == type(text_config(config)).__name__]
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict("os.environ", LAYERWISE_CACHE=folder):
        outcomes = [each.outcome for each in run(cases, Path(folder), None, None)]
    if "WRONG" in outcomes:
        return f"no: {outcomes.count('WRONG')} of {len(outcomes)} files are read otherwise than their originals"
    return YES if "right" in outcomes else "no"


def _outcome(attempt: Callable[[], str]) -> str:
    try:
        return attempt()
    except Exception as error:  # what others' code raises on an architecture that it has not met
        return _reason(error)


def _reason(error: Exception) -> str:
    """Return why something failed; of a refusal without what every refusal says."""
    if not isinstance(error, LayerwiseError):
        return f"no: {_first_line(error)}"
    text = " ".join(str(error).split())
    for lead in ("cannot be read layer by layer: ", "handing the hidden state on, "):
        text = text.partition(lead)[2] or text
    return "no: " + text.partition(". ")[0].rstrip(".")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].partition('. ')[0][:100]}" if lines else type(error).__name__


if __name__ == "__main__":
    main()
