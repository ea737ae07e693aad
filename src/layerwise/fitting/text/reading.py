"""Documents from files: plain text, JSON Lines, Parquet; and from data sets on the hub."""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from layerwise.errors import MissingDependencyError, TextError
from layerwise.text import harmless, one_line

HUB = "hub:"
"""What stands before a data set's name."""

FIELD = "text"
"""The field, or column, that holds a document where none is named."""

_JSON_LINES = {".jsonl", ".ndjson"}
_FROM_HUB = 20_000
"""Documents that are read of a data set on the hub: it may have billions, and a fit needs hundreds."""
_FORM = re.compile(r"hub:(?P<name>[\w.-]+(/[\w.-]+)?)(?P<config>/[\w.-]+)?(:(?P<split>[\w.-]+))?")


def read_documents(sources: Sequence[str | Path], field: str = FIELD) -> list[str]:
    """Return the documents of files and data sets, in their order.

    Args:
        sources: paths. A file that ends in ``.jsonl``, ``.ndjson`` or ``.parquet`` has many documents; any other is one
            document, in UTF-8. ``hub:OWNER/NAME[/CONFIG][:SPLIT]`` is a data set on the hub, which needs `datasets`.
        field: which field of JSON's objects, or column, holds the text.

    Raises:
        TextError: a source cannot be read, or has no text in it.
        MissingDependencyError: a data set is asked for and `datasets` is not installed.
    """
    found: list[str] = []
    for source in sources:
        here = [text for text in _documents_of(source, field) if text.strip()]
        if not here:
            raise TextError(f"{harmless(str(source))} has no text in it, so there is nothing to fit a lens on.")
        found += here
    return found


def given_documents(texts: Sequence[str | Path] | None, field: str = FIELD) -> list[str] | None:
    """Return documents that were given as strings, and those of files that were given as paths; None for none at all.

    Raises:
        TextError: a file cannot be read, or has no text in it.
    """
    if texts is None:
        return None
    if isinstance(texts, str | Path):
        raise TextError("Texts come as a list: strings that are documents, and paths of files. Got one alone.")
    return [text for each in texts for text in ([each] if isinstance(each, str) else read_documents([each], field))]


def _documents_of(source: str | Path, field: str) -> Iterator[str]:
    if str(source).startswith(HUB):
        return _from_hub(str(source), field)
    path = Path(source)
    if path.is_dir():
        raise TextError(
            f"{harmless(str(path))} is a folder, and text is read from files. Name them: --text FILE for each, or "
            "one .jsonl or .parquet file with all documents."
        )
    if path.suffix.lower() == ".parquet":
        return _from_parquet(path, field)
    return _from_json_lines(path, field) if path.suffix.lower() in _JSON_LINES else iter([_decoded(path, _bytes(path))])


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TextError(f"{harmless(str(path))} cannot be read: {error.strerror or error}.") from error


def _decoded(path: Path, content: bytes) -> str:
    if b"\0" in content:
        raise TextError(
            f"{harmless(str(path))} is binary: it has a zero byte, and no text has one. Text is read in UTF-8, from "
            "plain files, .jsonl and .parquet; take the text out of other formats first."
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TextError(
            f"{harmless(str(path))} is not UTF-8: byte {error.start:,} (line {line:,}) begins no character. Its tokens "
            "would be others than the text's. Convert it: iconv -f LATIN1 -t UTF-8."
        ) from error


def _from_json_lines(path: Path, field: str) -> Iterator[str]:
    for number, line in enumerate(_decoded(path, _bytes(path)).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{harmless(str(path))}, line {number:,}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise TextError(
                f"{where} is no JSON ({error}). Each line should be an object with a text in it."
            ) from error
        yield _text_in(row, field, where)


def _from_parquet(path: Path, field: str) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as table:
            if field not in table.schema_arrow.names:
                raise _no_such_field(str(path), field, table.schema_arrow.names)
            for batch in table.iter_batches(columns=[field]):
                for text in batch.column(0).to_pylist():
                    yield _text_in({field: text}, field, harmless(str(path)))
    except (OSError, pa.ArrowException) as error:
        raise TextError(f"{harmless(str(path))} cannot be read as Parquet: {harmless(str(error))}.") from error


def _from_hub(source: str, field: str) -> Iterator[str]:
    form = _FORM.fullmatch(source)
    if form is None:
        raise TextError(f"{one_line(source)} names no data set; the form is hub:OWNER/NAME[/CONFIG][:SPLIT].")
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{one_line(source)} is a data set on the hub, and the package that reads those is not installed: "
            "pip install datasets. Or give files: --text FILE."
        ) from error
    name, config = form["name"], form["config"]
    try:
        rows = datasets.load_dataset(name, config and config[1:], split=form["split"] or "train", streaming=True)
        for row in islice(rows, _FROM_HUB):
            yield _text_in(row, field, one_line(source))
    except TextError:
        raise
    except Exception as error:  # the network's, the hub's and the library's own
        raise TextError(
            f"{one_line(source)} cannot be read: {type(error).__name__}: {harmless(str(error))}. Without a network, "
            "give files (--text FILE) or let the model write the text (--self-text)."
        ) from error


def _text_in(row: Any, field: str, where: str) -> str:
    """Return a row's text; an empty one where the field is null."""
    if not isinstance(row, dict):
        raise TextError(f"{where} is {type(row).__name__}, where an object with a field {field!r} is expected.")
    if field not in row:
        raise _no_such_field(where, field, [*row])
    text = row[field]
    if text is not None and not isinstance(text, str):
        raise TextError(f"{where}: {field!r} holds {type(text).__name__}, not a text. Name another: --text-field NAME.")
    return text or ""


def _no_such_field(where: str, field: str, names: Sequence[str]) -> TextError:
    there = one_line(", ".join(map(str, names)), 200) or "none"
    return TextError(f"{where} has no field {field!r}; it has {there}. Name one of them: --text-field NAME.")
