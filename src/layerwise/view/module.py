"""The files of `view/web` as one ES module and one style sheet.

They are joined, and not bundled: local imports and the word `export` go, everything else stays as it is written. So
each file must keep to a convention, and one that does not is refused:

- imports are named ones, on one line, by relative path: `import { visible } from "../shared/text.js";`
- what begins a line without indentation declares a function, a class or a constant, and does nothing by itself
- no two files declare the same name
- no file holds what would end the `<script>` element around it
"""

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

WEB = Path(__file__).parent / "web"

_ENTRY = "app.js"

_IMPORT = re.compile(r'import \{ (?P<names>[\w$]+(?:, [\w$]+)*) \} from "(?P<file>\.{1,2}/[\w./]+\.js)";')
_DECLARED = re.compile(r"(?P<export>export )?(?:async )?(?:function\*?|class|const|let) (?P<name>[\w$]+)")
_ENDS_THE_ELEMENT = re.compile(r"</script|<!--", re.IGNORECASE)
_GOES_ON = ("}", "]", ")", "//", "/*", "`")
_IMPORTS_LATER = re.compile(r"\bimport\s*\(")


@cache
def module_text() -> str:
    """Return all that draws a view, as one ES module; its default export is anywidget's `{ render }`."""
    return joined({file.relative_to(WEB).as_posix(): file.read_text(encoding="utf-8") for file in WEB.rglob("*.js")})


@cache
def style_text() -> str:
    """Return the view's style sheet: `view.css` with the variables, then each part's by name."""
    files = sorted(WEB.rglob("*.css"), key=lambda file: (file.name != "view.css", file.as_posix()))
    text = "\n".join(file.read_text(encoding="utf-8").strip() for file in files) + "\n"
    if re.search("</style", text, re.IGNORECASE):
        raise ValueError("A style sheet of the view holds '</style', which would end the element around it.")
    return text


def joined(files: Mapping[str, str], entry: str = _ENTRY) -> str:
    """Return one module made of all files, each after those that it imports; `entry` may have a default export.

    Raises:
        ValueError: a file breaks the convention; the message names it and the line.
    """
    read: dict[str, _File] = {}
    for name in sorted(files):
        _read_in_order(name, files, (), read, entry)
    homes: dict[str, str] = {}
    for name, file in read.items():
        for declared in file.declared:
            if declared in homes:
                raise ValueError(f"view/web: {homes[declared]} and {name} both declare {declared}. Joined, it is one.")
            homes[declared] = name
    return "\n\n".join(file.text for file in read.values()) + "\n"


@dataclass
class _File:
    """A file, taken apart."""

    declared: list[str] = field(default_factory=list)
    exported: set[str] = field(default_factory=set)
    imported: list[tuple[str, str, str]] = field(default_factory=list)
    """(the place that asks, the name, the file that it is to come from)"""
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n".join(self.lines).strip()


def _read_in_order(
    name: str, files: Mapping[str, str], importing: tuple[str, ...], read: dict[str, _File], entry: str
) -> None:
    """Add a file to those that were read, after all that it imports."""
    if name in read:
        return
    if name in importing:
        raise ValueError(f"view/web: files import one another in a circle: {' → '.join([*importing, name])}.")
    if name not in files:
        raise ValueError(f"view/web: {importing[-1]} imports {name}, which is not there.")
    file = _taken_apart(name, files[name], is_entry=name == entry)
    for place, wanted, home in file.imported:
        _read_in_order(home, files, (*importing, name), read, entry)
        if wanted not in read[home].exported:
            raise ValueError(f"{place}: {home} does not export {wanted}.")
    read[name] = file


def _taken_apart(name: str, source: str, *, is_entry: bool) -> _File:
    file = _File()
    for number, line in enumerate(source.splitlines(), start=1):
        place = f"view/web/{name}, line {number}"
        if _ENDS_THE_ELEMENT.search(line):
            raise ValueError(f"{place}: '</script' and '<!--' would end or change the element around the module.")
        if _IMPORTS_LATER.search(line):
            raise ValueError(f"{place}: import() would fetch something, and a view fetches no code.")
        imported, declared = _IMPORT.fullmatch(line.rstrip()), _DECLARED.match(line)
        if imported:
            home = posixpath.normpath(posixpath.join(posixpath.dirname(name), imported["file"]))
            file.imported += [(place, wanted, home) for wanted in imported["names"].split(", ")]
            continue
        if declared:
            file.declared.append(declared["name"])
            if declared["export"]:
                file.exported.add(declared["name"])
        elif not _may_stand(line, is_entry=is_entry):
            raise ValueError(
                f"{place}: expected a declaration, the rest of one, or a named import on one line: {line!r}."
            )
        file.lines.append(line.removeprefix("export ") if declared else line)
    return file


def _may_stand(line: str, *, is_entry: bool) -> bool:
    """Return whether a line that declares nothing may stand in a file: inside something, or the entry's default."""
    inside = not line or line[0].isspace() or line.startswith(_GOES_ON)
    return inside or (is_entry and line.startswith("export default {"))
