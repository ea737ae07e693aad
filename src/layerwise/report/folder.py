"""A report's folder: its text, its figures, one HTML file, and the numbers behind it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from layerwise.charts import AnyChart, write_png_and_svg
from layerwise.errors import StoreError
from layerwise.files import write_text_whole
from layerwise.report.web import web_page
from layerwise.text import harmless, one_line


def begin_report(folder: Path) -> None:
    """Make the report's folder, so that what took long is not lost for want of one. Raises StoreError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritten(folder, error) from error


def write_numbers(folder: Path, name: str, numbers: Any) -> None:
    """Write all that a report goes by as JSON. Raises StoreError."""
    try:
        write_text_whole(folder / name, json.dumps(numbers, indent=1))
    except OSError as error:
        raise _unwritten(folder, error) from error


def write_report(folder: Path, text: str, figures: Mapping[str, AnyChart], title: str) -> Path:
    """Write report.md, report.html and figures, whose names are paths from the report; return report.md's path.

    Raises:
        StoreError: the folder cannot be written.
    """
    try:
        for picture, chart in figures.items():
            (folder / picture).parent.mkdir(parents=True, exist_ok=True)
            write_png_and_svg(chart, (folder / picture).with_suffix(""))
        write_text_whole(folder / "report.md", text)
        write_text_whole(folder / "report.html", web_page(text, dict(figures), one_line(title), {}, folder))
    except OSError as error:
        raise _unwritten(folder, error) from error
    return folder / "report.md"


def slug(*parts: str) -> str:
    """Return a file name made of names, without any character that means something to a file system."""
    return "-".join(re.sub(r"[^A-Za-z0-9._]+", "-", part).strip("-.") for part in parts) or "report"


def _unwritten(folder: Path, error: OSError) -> StoreError:
    return StoreError(f"The report could not be written to {harmless(str(folder))}: {error.strerror or error}.")
