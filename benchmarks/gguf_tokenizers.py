"""Tokens of GGUF vocabularies beside those that llama.cpp gives the same texts.

Two things are compared: llama.cpp's own test vocabularies, each with texts and expected ids beside it, and
a small vocabulary of ours under every name of tokenizer.ggml.pre, read by llama.cpp itself where a Python
is given that has llama-cpp-python. The vocabularies come with the source of llama-cpp-python, which is
downloaded by pip (77 MB) into a temporary folder, unless a folder is given.
"""

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.vocabularies import TEXTS, Vocabulary, byte_level, random_texts, sentencepiece
from layerwise.errors import LayerwiseError
from layerwise.files import sha256_of
from layerwise.models.gguf.gguf_files import open_gguf
from layerwise.models.gguf.tokenizer import build_tokenizer
from layerwise.models.gguf.tokenizer.pre import PRE_TOKENIZERS

LLAMA_CPP = "0.3.36"
"""Of llama-cpp-python, whose source holds the vocabularies and whose answers are the right ones."""
_SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"

PAGE = Path("docs/reference/gguf-tokenizers.md")
ANSWERS = Path("tests/data/llama_cpp_ids.json")

_BETWEEN = "\n__ggml_vocab_test__\n"
_TEXTS_PER_NAME = [*TEXTS, *random_texts(128)]


@dataclass(frozen=True)
class Row:
    """How many texts of how many got llama.cpp's tokens."""

    name: str
    right: int
    of: int
    refused: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print the table, and return 0 if nothing differs."""
    given = _parsed(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.vocabularies or _downloaded(Path(scratch))
        theirs = [_own_test(file, given.llama_cpp) for file in sorted(folder.glob("ggml-vocab-*.gguf"))]
        named = _by_name(given.llama_cpp, Path(scratch)) if given.llama_cpp else []
    text = _page(theirs, named)
    print(text)
    if given.refresh:
        PAGE.write_text(text, encoding="utf-8")
    if given.answers:
        _write_answers(given.llama_cpp)
    return int(any(row.right < row.of for row in [*theirs, *named]))


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabularies", type=Path, help="a folder with ggml-vocab-*.gguf, instead of the download")
    parser.add_argument("--llama-cpp", help="a Python that has llama-cpp-python, to ask llama.cpp itself")
    parser.add_argument("--refresh", action="store_true", help=f"write the tables into {PAGE}")
    parser.add_argument("--answers", action="store_true", help=f"write what the tests expect into {ANSWERS}")
    given = parser.parse_args(arguments)
    if (given.refresh or given.answers) and not given.llama_cpp:
        parser.error("--refresh and --answers need --llama-cpp")
    return given


def _downloaded(folder: Path) -> Path:
    """Return a folder with llama.cpp's test vocabularies, out of the pinned source of llama-cpp-python."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "llama-cpp-python"]
    subprocess.run([*pip, "--dest", str(folder), f"llama-cpp-python=={LLAMA_CPP}"], check=True)
    (archive,) = folder.glob("llama_cpp_python-*.tar.gz")
    if sha256_of(archive) != _SHA256:
        raise SystemExit(f"{archive.name} is not the file that was compared with: its SHA-256 is another one")
    with tarfile.open(archive) as opened:
        wanted = [m for m in opened.getmembers() if m.isfile() and Path(m.name).name.startswith("ggml-vocab-")]
        for member in wanted:
            member.name = Path(member.name).name
        opened.extractall(folder, members=wanted, filter="data")
    return folder


def _own_test(file: Path, python: str | None) -> Row:
    """Return how many texts get llama.cpp's ids: those beside one of its vocabularies, and ours if it can be asked."""
    name = file.stem.removeprefix("ggml-vocab-")
    try:
        tokenizer = build_tokenizer(open_gguf(file))
    except LayerwiseError:
        return Row(name, 0, 0, refused=True)
    texts, answers = file.with_name(file.name + ".inp"), file.with_name(file.name + ".out")
    same: list[bool] = []
    if texts.exists():
        expected = [[*map(int, line.split())] for line in answers.read_text("utf-8").splitlines()]
        pairs = zip(texts.read_text("utf-8").split(_BETWEEN), expected, strict=False)
        same += [tokenizer(text, add_special_tokens=False)["input_ids"] == ids for text, ids in pairs]
    if python:
        same += _beside_llama_cpp(tokenizer, ask_llama_cpp(python, [file], _TEXTS_PER_NAME)["answers"][str(file)])
    return Row(name, sum(same), len(same))


def _beside_llama_cpp(tokenizer: Any, expected: Sequence[list[int]]) -> list[bool]:
    return [tokenizer(text)["input_ids"] == ids for text, ids in zip(_TEXTS_PER_NAME, expected, strict=True)]


@cache
def vocabularies() -> dict[str, Vocabulary]:
    """Return our vocabularies: one under every name of ``tokenizer.ggml.pre`` and without, one of SentencePiece's."""
    plain = byte_level()
    named = {name: replace(plain, more={**plain.more, "pre": name}) for name in sorted(PRE_TOKENIZERS)}
    pieces = {
        "SentencePiece": sentencepiece(),
        "SentencePiece, no space in front": sentencepiece(add_space_prefix=False),
        "SentencePiece, EOS and no BOS": sentencepiece(add_bos_token=False, add_eos_token=True),
    }
    return {**named, "no pre": plain, **pieces}


def ask_llama_cpp(python: str, files: Iterable[Path], texts: Sequence[str]) -> Mapping[str, Any]:
    """Return llama.cpp's version and its ids of texts, special ones added and parsed, by file."""
    asked = json.dumps({"add_special": True, "files": [*map(str, files)], "texts": texts})
    script = str(Path(__file__).with_name("llama_cpp_ids.py"))
    answered = subprocess.run([python, script], input=asked, capture_output=True, text=True, check=True)
    return json.loads(answered.stdout)


def _by_name(python: str, folder: Path) -> list[Row]:
    files = {name: one.write(folder / f"{n}.gguf") for n, (name, one) in enumerate(vocabularies().items())}
    said = ask_llama_cpp(python, files.values(), _TEXTS_PER_NAME)
    if said["version"] != LLAMA_CPP:
        raise SystemExit(f"{python} has llama-cpp-python {said['version']}, expected {LLAMA_CPP}")
    rows = []
    for name, file in files.items():
        same = _beside_llama_cpp(build_tokenizer(open_gguf(file)), said["answers"][str(file)])
        rows.append(Row(name, sum(same), len(same)))
    return rows


def _write_answers(python: str) -> None:
    """Write llama.cpp's ids of `TEXTS`, each distinct set of answers once."""
    with tempfile.TemporaryDirectory() as scratch:
        files = {name: v.write(Path(scratch) / f"{n}.gguf") for n, (name, v) in enumerate(vocabularies().items())}
        said = ask_llama_cpp(python, files.values(), TEXTS)
    answers: dict[str, list[str]] = {}
    for name, file in files.items():
        answers.setdefault(json.dumps(said["answers"][str(file)]), []).append(name)
    lines = [f' {{"names": {json.dumps(names)},\n  "ids": {ids}}}' for ids, names in answers.items()]
    ANSWERS.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def _page(theirs: Sequence[Row], named: Sequence[Row]) -> str:
    parts = [
        "# GGUF tokenizers beside llama.cpp\n",
        "Written by `python -m benchmarks.gguf_tokenizers --refresh` with llama.cpp as in llama-cpp-python "
        f"{LLAMA_CPP}, transformers {version('transformers')} and tokenizers {version('tokenizers')}. What the rules "
        "are stands in [Read a GGUF file](../how-to/gguf.md#which-tokens-a-text-is).\n",
        "## llama.cpp's own test vocabularies\n",
        f"Most have 46 texts and the ids that llama.cpp expects beside them; {len(_TEXTS_PER_NAME)} further texts were "
        "put to llama.cpp itself, special tokens added and parsed.\n",
        *_table("vocabulary", theirs),
    ]
    if named:
        parts += [
            "\n## By the name in `tokenizer.ggml.pre`\n",
            f"One small vocabulary under every name, {len(_TEXTS_PER_NAME)} texts each: what expressions part on "
            "(contractions, digits, scripts, kinds of white space, marks, emoji), and random pieces of it. llama.cpp "
            "itself gives the right ids, special tokens added and parsed.\n",
            *_table("vocabulary", named),
        ]
    return "\n".join(parts) + "\n"


def _table(head: str, rows: Sequence[Row]) -> list[str]:
    lines = [f"| {head} | texts right | of |", "|---|---|---|"]
    for row in rows:
        count = (
            f"{row.right} | {row.of}"
            if row.of
            else "refused: a kind that is not read | "
            if row.refused
            else "no texts | "
        )
        lines.append(f"| {row.name} | {count} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
