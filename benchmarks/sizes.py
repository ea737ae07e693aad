"""Time and memory of a trace against the size of what is read, on random models."""

import statistics
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.clock import seconds_of
from benchmarks.memory import added_peak
from benchmarks.processes import in_own_process
from benchmarks.progress import tell

_WORDS = 64


@dataclass(frozen=True)
class Shape:
    """A model, and what is read with it. All positions are read."""

    layers: int = 8
    vocabulary: int = 32_768
    positions: int = 32
    prompts: int = 1


@dataclass(frozen=True)
class Cost:
    """What one size costs."""

    axis: str
    """The field of `Shape` that varies."""
    size: int
    seconds: float
    megabytes: float | None


SIZES = {
    "layers": (4, 8, 16, 32, 64),
    "vocabulary": (16_384, 32_768, 65_536, 131_072, 262_144),
    "positions": (16, 64, 256, 1024),
    "prompts": (1, 4, 16, 64),
}


def costs(points: int | None = None) -> list[Cost]:
    """Return the cost of each size; with `points`, of the smallest on each axis only."""
    found = []
    for axis, sizes in SIZES.items():
        for size in sizes[:points]:
            found.append(in_own_process(cost, axis, size))
            tell(f"{size:,} {axis}: {found[-1].seconds:.2f} s")
    return found


def cost(axis: str, size: int) -> Cost:
    """Return what a trace costs where everything else has its usual size. To be run in a process of its own."""
    import layerwise as lw

    shape = replace(Shape(), **{axis: size})
    model = lw.load(random_llama(shape), tokenizer=word_tokenizer())
    requests = [lw.Request(_prompt(i, shape.positions), positions="all") for i in range(shape.prompts)]
    model.trace("w0 w1")
    megabytes = added_peak(lambda: model.trace_all(requests))
    times = [seconds_of(lambda: model.trace_all(requests)) for _ in range(3)]
    return Cost(axis, size, statistics.median(times), megabytes)


def random_llama(shape: Shape) -> Any:
    """Return a transformers model of a shape, its weights random."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=shape.vocabulary,
            num_hidden_layers=shape.layers,
            hidden_size=256,
            intermediate_size=512,
            num_attention_heads=4,
            max_position_embeddings=max(SIZES["positions"]),
        )
    ).eval()


def word_tokenizer() -> Any:
    """Return a tokenizer of a few words, ``w0`` and so on."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(_WORDS)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]  # a setter
    return PreTrainedTokenizerFast(tokenizer_object=words)


def _prompt(seed: int, length: int) -> str:
    """Return so many words, one token each, different for each seed."""
    return " ".join(f"w{(seed + 1) * (i + 1) * 7919 % _WORDS}" for i in range(length))
