"""What is measured of large models. Each function is to be run in a process of its own."""

import resource
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.clock import seconds_of

SMALL = ("smollm2-135m", "gemma-3-270m")
TOKENS = 16
_WORDS = ["a", "river", "runs", "from", "the", "mountains", "in", "the", "north", "to", "the", "sea"]  # one token each


@dataclass(frozen=True)
class Limits:
    """What cannot be left out, in seconds, for eight prompts."""

    read: float
    """All weight files once, one after another."""
    compute: float
    """All blocks in the precision that layerwise chooses, with weights that are in memory."""
    dtype: str


@dataclass(frozen=True)
class Streaming:
    """Traces of some prompts, all in one call."""

    prompts: int
    tokens: int
    """Of each prompt."""
    load_seconds: float
    first_seconds: float
    seconds: float
    """Of a second call, warm; of the first where there is no second."""
    gigabytes_read: float
    """In that call, by layerwise's own count."""
    weights_gigabytes: float
    """Of the checkpoint's blocks."""
    peak_gigabytes: float


@dataclass(frozen=True)
class Offload:
    """transformers with accelerate's CPU and disk offload, all hidden states of eight prompts."""

    first_seconds: float
    seconds: float
    peak_gigabytes: float


@dataclass(frozen=True)
class GgufPeak:
    """Memory of one trace straight from a GGUF file, above an interpreter that has traced a toy model."""

    model: str
    megabytes: float
    allowed_megabytes: float
    """1.2 times the file, one dequantised block, and the output head in float32."""


@dataclass(frozen=True)
class Fitting:
    """A sweep of 64 prompts through a model that would fit, streamed and resident in turn."""

    model: str
    resident_seconds: float
    streamed_seconds: float


@dataclass
class Large:
    """Everything that one run found."""

    machine: dict[str, Any]
    memory: str
    limits: Limits | None = None
    few: Streaming | None = None
    many: Streaming | None = None
    offload: Offload | None = None
    gguf: list[GgufPeak] = field(default_factory=list)
    fitting: list[Fitting] = field(default_factory=list)


def limits(folder: Path, memory: str) -> Limits:
    """Return the time for reading the files once, and for the blocks' arithmetic alone."""
    import torch

    import layerwise as lw
    from benchmarks import inside

    model = lw.load(folder, memory=memory)
    return Limits(
        read=min(seconds_of(lambda: _read_all(folder)) for _ in range(2)),
        compute=inside.block_seconds(model, torch.randint(1000, (8, TOKENS))) * model.n_layers,
        dtype=model.info.dtype,
    )


def streamed(folder: Path, memory: str, count: int, tokens: int = TOKENS, *, repeat: bool = True) -> Streaming:
    """Return what `count` prompts of so many tokens cost, from a call of its own and from a warm one."""
    import layerwise as lw

    began = time.perf_counter()
    model = lw.load(folder, memory=memory)
    loaded = time.perf_counter() - began
    requests = [lw.Request(prompt) for prompt in _prompts(model, count, tokens)]
    times, before = [], 0
    for _ in range(2 if repeat else 1):
        before = model.bytes_read
        times.append(seconds_of(lambda: model.trace_all(requests)))
    from benchmarks import inside

    return Streaming(
        prompts=count,
        tokens=tokens,
        load_seconds=loaded,
        first_seconds=times[0],
        seconds=times[-1],
        gigabytes_read=(model.bytes_read - before) / 1e9,
        weights_gigabytes=inside.bytes_of_blocks(model) / 1e9,
        peak_gigabytes=peak_bytes() / 1e9,
    )


def offloaded(folder: Path, memory: str) -> Offload:
    """Return what the same eight prompts cost through accelerate, all hidden states kept."""
    import tempfile

    import torch
    from transformers import AutoModelForCausalLM

    from layerwise.models.machine.device import bytes_of, used_memory

    # accelerate counts weights only; what the process has already is taken off, as layerwise does.
    room = (bytes_of(memory) or 0) - used_memory()
    with tempfile.TemporaryDirectory(dir=folder.parent) as disk:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.bfloat16, device_map="auto", max_memory={"cpu": room}, offload_folder=disk
        )
        ids = torch.randint(1000, (8, TOKENS))

        def run() -> None:
            with torch.no_grad():
                model(input_ids=ids, output_hidden_states=True, use_cache=False, logits_to_keep=1)

        first, warm = seconds_of(run), seconds_of(run)
    return Offload(first, warm, peak_bytes() / 1e9)


def gguf_peak(name: str) -> GgufPeak:
    """Return the memory that a trace of a streamed GGUF model adds."""
    import layerwise as lw
    from benchmarks import inside
    from benchmarks.sizes import Shape, random_llama, word_tokenizer
    from benchmarks.tiny import always_streamed
    from layerwise.models.machine.device import used_memory
    from layerwise.models.sources.bundled import bundled_file

    toy = lw.load(random_llama(Shape(layers=1, vocabulary=64)), tokenizer=word_tokenizer())
    toy.trace("w0 w1")  # so that every library is there, and what is compiled is compiled
    baseline = used_memory()
    with always_streamed():
        model = lw.load(name)
    model.trace("The capital of Germany is")
    weight = model._loaded.output_head.weight
    head = weight.shape[0] * weight.shape[1] * 4
    allowed = 1.2 * bundled_file(name).stat().st_size + inside.largest_block(model) + head
    return GgufPeak(name, (peak_bytes() - baseline) / 1e6, allowed / 1e6)


def streamed_against_resident(name: str) -> Fitting:
    """Return the time of a sweep of 64 prompts both ways, in turn."""
    import layerwise as lw
    from benchmarks.questions import questions
    from benchmarks.tiny import always_streamed

    resident = lw.load(name)
    with always_streamed():
        fed = lw.load(name)
    requests = [lw.Request(question.prompt) for question in questions(64)]
    times: dict[str, list[float]] = {"resident": [], "streamed": []}
    for _ in range(4):
        times["resident"].append(seconds_of(lambda: resident.trace_all(requests)))
        times["streamed"].append(seconds_of(lambda: fed.trace_all(requests)))
    return Fitting(name, median(times["resident"][1:]), median(times["streamed"][1:]))


def _prompts(model: Any, count: int, tokens: int) -> list[str]:
    """Return distinct prompts of so many tokens."""
    from benchmarks import inside

    hf = inside.hf_tokenizer(model)
    ids = hf(" ".join(_WORDS * 4))["input_ids"]
    return [hf.decode([1000 + n, *ids[n % 8 :][: tokens - 1]]) for n in range(count)]


def _read_all(folder: Path) -> None:
    buffer = bytearray(64 << 20)
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb", buffering=0) as opened:
            while opened.readinto(buffer):
                pass


def peak_bytes() -> int:
    """Return the most memory that this process ever had resident."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
