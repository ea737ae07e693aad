"""Edges of attention between spans of a prompt, and placebos that stand for them."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from layerwise.causal.alignment import positions_of
from layerwise.errors import EditError
from layerwise.models.tokenizing.tokens import Tokenizer
from layerwise.text import one_line

FIRST, LAST, REST = "first", "last", "rest"

BUILT_IN = (FIRST, LAST, REST)
"""Spans that every prompt has: its first position, its last, and those that are in neither, nor in a span given."""


@dataclass(frozen=True)
class Edge:
    """Attention of one span's positions to another's: what is known at the keys goes to the queries."""

    keys_of: str
    """Name of the span that is seen."""
    queries_of: str
    """Name of the span that sees it."""
    keys: tuple[int, ...]
    queries: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.keys_of} → {self.queries_of}"


def edges_of(
    tokenizer: Tokenizer, ids: tuple[int, ...], length: int, written: Sequence[str], spans: Mapping[str, str]
) -> list[Edge]:
    """Return the edges that are written as ``FROM:TO``, names of spans: queries in TO see keys in FROM.

    Args:
        tokenizer: the model's.
        ids: the prompt's.
        length: of what is run: the prompt, and tokens of the answer before the deciding one, the last of all being
            ``last``.
        written: the edges.
        spans: by name, the text of each in the prompt.

    Raises:
        PromptError: a span's text is not there once.
        EditError: an edge is written otherwise, names no span, an empty one, or only keys that come after its queries.
    """
    if taken := [name for name in spans if name in BUILT_IN]:
        raise EditError(f"{taken[0]!r} is a span that every prompt has. Give yours another name.")
    places = {name: tuple(positions_of(tokenizer, ids, text, name)) for name, text in spans.items()}
    named = {position for positions in places.values() for position in positions}
    places[FIRST], places[LAST] = (0,), (length - 1,)
    places[REST] = tuple(position for position in range(1, length - 1) if position not in named)
    return [_edge(each, places) for each in dict.fromkeys(written)]


def _edge(written: str, places: Mapping[str, tuple[int, ...]]) -> Edge:
    source, colon, target = written.partition(":")
    names = source.strip(), target.strip()
    if not colon:
        raise EditError(
            f"{one_line(repr(written), 80)} is no edge of attention. Write FROM:TO, names of spans, as in "
            "subject:last, which keeps the last position from seeing the subject."
        )
    if unknown := [name for name in names if name not in places]:
        raise EditError(
            f"There is no span called {one_line(repr(unknown[0]), 60)}; there are {', '.join(places)}. Name a part of "
            "the prompt, as in --span subject=Germany (spans={'subject': 'Germany'})."
        )
    keys, queries = places[names[0]], places[names[1]]
    if empty := [name for name, positions in zip(names, (keys, queries), strict=True) if not positions]:
        raise EditError(f"The span {empty[0]!r} is empty in this prompt: other spans cover it all.")
    seen = tuple(key for key in keys if key <= max(queries))
    seeing = tuple(query for query in queries if query >= min(keys))
    if not seen:
        raise EditError(
            f"There is nothing to cut from {names[0]} to {names[1]}: every position of {names[0]} "
            f"({_listed(keys)}) comes after {names[1]} ({_listed(queries)}), which does not see it."
        )
    return Edge(*names, seen, seeing)


def placebos(edge: Edge, draws: int, seed: int) -> list[tuple[int, ...]]:
    """Return keys to cut in place of an edge's: as many, seen by its last query, and not the first position.

    None of them is one of the edge's keys or queries. They are drawn without repeating any; where there are no more
    than `draws` of them it is all.
    """
    possible = [at for at in range(1, max(edge.queries)) if at not in edge.keys and at not in edge.queries]
    count = len(edge.keys)
    if math.comb(len(possible), count) <= draws:
        return [*combinations(possible, count)]
    generator, drawn = random.Random(f"{seed} {edge}"), dict[tuple[int, ...], None]()
    while len(drawn) < draws:
        drawn[tuple(sorted(generator.sample(possible, count)))] = None
    return [*drawn]


def usual_window(n_layers: int) -> int:
    """Return how many blocks edges are cut in together: a fifth of them, as an odd number (Geva et al. 2023)."""
    return max(1, 2 * round((n_layers / 5 - 1) / 2) + 1)


def _listed(positions: Sequence[int]) -> str:
    return ", ".join(map(str, positions))
