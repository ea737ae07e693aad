"""The page of the documentation that says what is read of which architecture's GGUF files."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.gguf.outcomes import Outcome, by_architecture
from layerwise.files import write_text_whole

PAGE = Path("docs/reference/gguf-architectures.md")

_FAR = 0.1
"""Log-probability by which llama.cpp has to differ from an original to be named."""

_INTRODUCTION = """\
# GGUF architectures beside their originals

Written by `python -m benchmarks.gguf --refresh` with transformers {transformers}, the gguf package
{gguf}{others}.
Each case is a tiny random checkpoint with settings of its own, its file as llama.cpp's converter lays it out, and what
layerwise reads of that file beside the original in transformers, at 8, 64 and 600 tokens. What a file loses is compared
with what llama.cpp takes in its place. [Read a GGUF file](../how-to/gguf.md) says what is refused and why.

"""


def refresh(outcomes: Sequence[Outcome], *, converted: bool, asked: bool) -> None:
    """Write the page anew."""
    found = by_architecture(outcomes)
    others = [
        *(["llama.cpp's converter"] if converted else []),
        *(["llama.cpp itself"] if asked else []),
    ]
    said = "".join(f", {each}" for each in others)
    lines = [
        "| architecture | cases right | refused | largest error (log-probability) | settings tried | lost in the file |"
    ]
    lines.append("|---|---:|---:|---:|---|---|")
    for name, row in found.items():
        error, counts = row["largest_error"], row["outcomes"]
        lines.append(
            f"| {name} | {counts.get('right', 0)} | {counts.get('refused', 0)} | "
            f"{'' if error is None else f'{error:.0e}'} | {_listed(row['settings'])} | "
            f"{_listed(row['lost'])} |"
        )
    if asked:
        lines += ["", *_by_llama_cpp(outcomes)]
    head = _INTRODUCTION.format(transformers=version("transformers"), gguf=version("gguf"), others=said)
    write_text_whole(PAGE, head + "\n".join(lines) + "\n")


def _by_llama_cpp(outcomes: Sequence[Outcome]) -> list[str]:
    """Return what llama.cpp itself makes of the same files, beside the originals."""
    errors = {each.name: each.llama_cpp_error for each in outcomes if each.llama_cpp_error is not None}
    far = {name: error for name, error in errors.items() if error > _FAR}
    read = {each.name for each in outcomes if each.outcome == "right"}
    return [
        "## What llama.cpp itself makes of the same files",
        "",
        f"llama.cpp reads {len(errors)} of the {len(outcomes)} files, {len(errors) - len(far)} of them within {_FAR}",
        "of the original (its tables of GELU have half precision). These are the others, with the largest difference",
        "in log-probability.",
        "",
        "| case | llama.cpp beside the original | layerwise |",
        "|---|---:|---|",
        *(
            f"| {name} | {error:.1f} | {'as the original' if name in read else 'refuses the file'} |"
            for name, error in sorted(far.items())
        ),
    ]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
