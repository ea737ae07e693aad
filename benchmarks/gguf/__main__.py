"""GGUF files of every case by llama.cpp's own converter, read by layerwise, the original and llama.cpp.

The converter and llama.cpp are not installed with layerwise: the converter comes from the source distribution that
`--converter download` fetches from PyPI, llama.cpp from a Python that has llama-cpp-python.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from transformers.utils import logging as transformers_logging

import layerwise as lw
from benchmarks.gguf import checkpoints, converter, llamacpp
from benchmarks.gguf.case import Case
from benchmarks.gguf.cases import CASES
from benchmarks.gguf.files import differences
from benchmarks.gguf.outcomes import Outcome, table, write
from benchmarks.gguf.page import PAGE, refresh
from benchmarks.gguf.reading import LENGTHS, TOLERANCE, largest_difference, largest_error, logprobs
from benchmarks.gguf.writer import write as write_gguf
from benchmarks.progress import tell

_EXAMPLE = """\
examples:
  python -m benchmarks.gguf --converter download --json gguf.json
  python -m benchmarks.gguf --converter ../llama.cpp --llama-cpp ../venv/bin/python --only gemma3 llama/linear
"""


def main() -> None:
    """Run the cases that are asked for; exit with 1 if any is read wrong."""
    arguments = _parser().parse_args()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    torch.set_num_threads(1)  # the models are too small to share out
    cases = [case for case in CASES if _asked(case, arguments.only)]
    if not cases:
        raise SystemExit(f"No case begins with {', '.join(arguments.only)}.")
    if arguments.llama_cpp and not llamacpp.available(arguments.llama_cpp):
        raise SystemExit(f"{arguments.llama_cpp} can't import llama_cpp. Install llama-cpp-python for it.")
    with tempfile.TemporaryDirectory(prefix="layerwise-gguf-") as folder:
        os.environ["LAYERWISE_CACHE"] = str(
            Path(folder) / "cache"
        )  # the user's own is no place for some 300 tiny models
        outcomes = run(cases, Path(folder), arguments.converter, arguments.llama_cpp)
    Console(width=200).print(table(outcomes))
    if arguments.json:
        write(outcomes, arguments.json)
    if arguments.refresh:
        refresh(outcomes, converted=bool(arguments.converter), asked=bool(arguments.llama_cpp))
    wrong = [each.name for each in outcomes if each.outcome == "WRONG" or each.converter == "DIFFERS"]
    sys.exit(f"{len(wrong)} of {len(outcomes)} cases are wrong: {', '.join(wrong)}" if wrong else 0)


def run(cases: Sequence[Case], folder: Path, sources: str | None, python: str | None) -> list[Outcome]:
    """Return what came of each case: written, converted where there is a converter, and read."""
    places = []
    for number, case in enumerate(cases):
        place = folder / str(number)
        place.mkdir()
        original = checkpoints.build(case)
        write_gguf(case, original, place / "ours.gguf")
        if sources:
            checkpoints.save(original, place / "hub")
        places.append(place)
    tell(f"{len(cases)} checkpoints written")
    failures = _convert(cases, places, folder, sources)
    outcomes = []
    for case, place, failure in zip(cases, places, failures, strict=True):
        outcomes.append(_read(case, place, failure, python))
        tell(f"{case.name}: {outcomes[-1].outcome}")
    return outcomes


def _convert(cases: Sequence[Case], places: Sequence[Path], folder: Path, sources: str | None) -> list[str | None]:
    """Return for each case why the converter failed: "" where it did not, None where it wasn't asked."""
    asked = [(case, place) for case, place in zip(cases, places, strict=True) if sources and not case.keys]
    if not sources or not asked:
        return [None] * len(cases)
    jobs = [(place / "hub", place / "theirs.gguf", case.older) for case, place in asked]
    answers = converter.convert(converter.find(sources, folder), jobs, folder)
    failures = {place: answer for (_, place), answer in zip(asked, answers, strict=True)}
    tell(f"{len(asked)} checkpoints converted")
    return [failures.get(place) for place in places]


def _read(case: Case, place: Path, failure: str | None, python: str | None) -> Outcome:
    original = checkpoints.build(case)
    reference = checkpoints.reference(case, original)
    found = Outcome(case.name, case.architecture, case.settings, case.lost)
    if case.lost:
        found.lost_error = largest_difference(original, reference)
    file = place / "ours.gguf"
    if failure == "":
        found.differences = differences(file, place / "theirs.gguf")
        found.converter, file = "DIFFERS" if found.differences else "same", place / "theirs.gguf"
    elif failure:
        found.converter = f"failed: {failure}"
    try:
        found.error = largest_error(file, reference)
        found.outcome = "right" if found.error <= TOLERANCE else "WRONG"
    except lw.LayerwiseError as error:
        found.outcome, found.message = "refused", str(error)
    if python:
        _ask_llama_cpp(found, file, reference, python)
    return found


def _ask_llama_cpp(found: Outcome, file: Path, reference: Any, python: str) -> None:
    try:
        theirs = llamacpp.logprobs(python, file, LENGTHS)
    except llamacpp.LlamaCppError as error:
        found.llama_cpp = str(error)
        return
    errors = [(logprobs(reference, n) - each).abs().max() for n, each in zip(LENGTHS, theirs, strict=True)]
    found.llama_cpp_error = float(torch.stack(errors).max())


def _asked(case: Case, only: Sequence[str]) -> bool:
    return not only or case.name in only or case.architecture in only or case.name.startswith(tuple(only))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.gguf",
        description=__doc__,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="architectures, cases, or how they begin")
    parser.add_argument(
        "--converter",
        metavar="FOLDER|download",
        help=f"llama.cpp's sources, or {converter.PINNED}; without them our own files are read",
    )
    parser.add_argument("--llama-cpp", metavar="PYTHON", help="a Python that has llama-cpp-python; asks llama.cpp too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything here")
    parser.add_argument("--refresh", action="store_true", help=f"write {PAGE} anew")
    return parser


if __name__ == "__main__":
    main()
