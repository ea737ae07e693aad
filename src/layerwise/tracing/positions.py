"""Positions of a prompt, as they are asked for."""

from layerwise.errors import PromptError


def chosen_positions(wanted: str, count: int) -> list[int]:
    """Return the indices that ``last``, ``all`` or ``0,3:5,-1`` means for `count` tokens."""
    if wanted == "last":
        return [count - 1]
    if wanted == "all":
        return list(range(count))
    found: list[int] = []
    for part in wanted.split(","):
        try:
            if ":" in part:
                start, stop = (int(bound) if bound.strip() else None for bound in part.split(":"))
                chosen = list(range(count))[start:stop]
            else:
                chosen = [range(count)[int(part)]]
        except (ValueError, IndexError):
            chosen = []
        if not chosen:
            raise PromptError(
                f"Positions {wanted!r}: {part!r} names none of this prompt's {count} tokens (0 to {count - 1}). "
                "Expected last, all, or indices and slices as in 0,3:5,-1."
            )
        found += chosen
    return found
