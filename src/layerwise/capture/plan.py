"""What to capture: token sequences, and the positions of each whose states are kept."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sequence:
    """Token ids to run, and where to look."""

    ids: tuple[int, ...]
    positions: tuple[int, ...]
    """Indices into `ids`, each ≥ 0, in the order in which states are wanted."""


def group_by_length(sequences: list[Sequence], tokens_at_once: int) -> list[list[int]]:
    """Return groups of indices into `sequences`, all of a group equally long.

    Equal lengths need no padding, so a batch gives what its sequences give one by one. A group
    holds at most `tokens_at_once` tokens, or one sequence.
    """
    by_length: dict[int, list[int]] = {}
    for index, sequence in enumerate(sequences):
        by_length.setdefault(len(sequence.ids), []).append(index)
    groups = []
    for length, indices in sorted(by_length.items()):
        size = max(1, tokens_at_once // length)
        groups += [indices[start : start + size] for start in range(0, len(indices), size)]
    return groups
