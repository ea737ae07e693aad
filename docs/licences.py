"""Which licences `layerwise` and all that it needs come under, read from what is installed.

python docs/licences.py            # rewrite docs/licences.md
python docs/licences.py --check    # compare it with what is installed, and change nothing
"""

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PAGE = Path(__file__).with_name("licences.md")
PROJECT = tomllib.loads((PAGE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]

SAME = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""One name per licence. Which of the BSD licences a package means by that is in its own files."""

TEXT = """\
# Licences

`layerwise` itself is under the MIT licence (`LICENSE`). What follows is written by `python docs/licences.py`, from the
metadata of the packages that are installed and from the table of bundled models; a test compares it with both.
Licences are in the packages' own words, apart from spelling.

## Models

`layerwise models pull` fetches them; the package itself does not hold them. It does hold a Jacobian lens of each, which
was computed from the model and is under the same terms as that.

{models}

{notes}

A model from elsewhere has its own licence: read its page.

## Packages that layerwise needs

Directly, and what those need in turn. On machines with CUDA, PyTorch brings NVIDIA's libraries under their own terms.

{packages}

## Packages that come with an extra

{extras}
"""


def packages(requirements: Iterable[str]) -> dict[str, Distribution]:
    """Return the packages that these requirements come to here, with all that those need, by canonical name."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = list(_here(requirements, ""))
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        try:
            found[name] = found.get(name) or distribution(requirement.name)
        except PackageNotFoundError:  # of an extra that is not installed
            continue
        for extra in {"", *requirement.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting += _here(found[name].requires or [], extra)
    return found


def licence(of: Distribution) -> str:
    """Return a package's licence in its own words: the SPDX expression, else its classifiers, else the first line."""

    def said(key: str) -> list[str]:
        return [str(value) for value in of.metadata.get_all(key) or []]

    if expression := said("License-Expression"):
        return expression[0]
    classified = [line for line in said("Classifier") if line.startswith("License ::")]
    named = {line.rpartition(" :: ")[2] for line in classified if line != "License :: OSI Approved"}
    if named:
        return "; ".join(sorted(SAME.get(name, name) for name in named))
    first = "".join(said("License")).strip().partition("\n")[0].strip() or "not stated"
    return SAME.get(first, first)


def page() -> str:
    """Return the page as it should be."""
    from layerwise.models.sources.bundled import BUNDLED

    needed = packages(PROJECT["dependencies"])
    models = [
        (f"`{model.name}`", model.licence, ", ".join(f"`{name}`" for name in model.packages))
        for model in BUNDLED.values()
    ]
    more: dict[str, tuple[Distribution, list[str]]] = {}
    for extra, requirements in PROJECT["optional-dependencies"].items():
        for name, each in packages(requirements).items():
            if name not in {*needed, "layerwise"}:
                more.setdefault(name, (each, []))[1].append(extra)
    return TEXT.format(
        models=_table(("model", "licence", "fetched from the packages"), models),
        notes="\n\n".join(model.licence_note for model in BUNDLED.values() if model.licence_note),
        packages=_table(("package", "licence"), [(f"`{n}`", licence(each)) for n, each in sorted(needed.items())]),
        extras=_table(
            ("package", "licence", "extra"),
            [(f"`{name}`", licence(each), ", ".join(names)) for name, (each, names) in sorted(more.items())],
        ),
    )


def differences(written: str, computed: str) -> list[str]:
    """Return what a page says otherwise than this machine; a package that only one of them has is no difference.

    What layerwise needs directly has to be on the page.
    """
    theirs, ours = dict(_rows(written)), dict(_rows(computed))
    both = sorted(ours.keys() & theirs.keys())
    direct = {f"`{canonicalize_name(need.name)}`" for need in _here(PROJECT["dependencies"], "")}
    return [
        f"{name}: {theirs[name]} is written, {ours[name]} is installed" for name in both if ours[name] != theirs[name]
    ] + [f"{name} is missing" for name in sorted(direct - theirs.keys())]


def _here(requirements: Iterable[str], extra: str) -> Iterator[Requirement]:
    """Yield those of the requirements that this machine has to meet, with an extra of the package that states them."""
    environment = {**default_environment(), "extra": extra}
    for requirement in map(Requirement, requirements):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            yield requirement


def _rows(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        if found := re.match(r"\| (`[^`]+`) \| (.+?) \|", line):
            yield found[1], found[2]


def _table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [titles, ("---",) * len(titles), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        sys.exit("\n".join(differences(PAGE.read_text(encoding="utf-8"), page())) or 0)
    PAGE.write_text(page(), encoding="utf-8")
