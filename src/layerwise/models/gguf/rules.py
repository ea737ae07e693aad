"""How a GGUF file's tensors become a transformers model's parameters.

A table of names, with what is done to the values. Names have ``{}`` where the number of the block
stands. Those without a suffix stand for both a ``.weight`` and a ``.bias``.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

Convert = Callable[..., Tensor | tuple[Tensor, ...]]
"""Makes parameters of stored tensors; called with the number of the block (None outside) and the tensors."""

_BLOCK = re.compile(r"blk\.(\d+)\.")


def unchanged(_block: int | None, values: Tensor) -> Tensor:
    """Return the stored values."""
    return values


@dataclass(frozen=True)
class Rule:
    """Stored tensors that become parameters together."""

    stored: tuple[str, ...]
    """ggml's names."""
    made: tuple[str, ...]
    """The parameters' names."""
    convert: Convert = unchanged


@dataclass(frozen=True)
class Made:
    """A rule for the tensors of one block, or outside all blocks."""

    stored: tuple[str, ...]
    made: tuple[str, ...]
    convert: Convert
    block: int | None

    def parameters(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the parameters that the stored tensors become."""
        done = self.convert(self.block, *(values[name] for name in self.stored))
        return dict(zip(self.made, done if isinstance(done, tuple) else (done,), strict=True))


class Rules:
    """The table of one architecture."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._by_name = {name: rule for rule in rules for name in rule.stored}

    def __contains__(self, name: str) -> bool:
        try:
            return bool(self.of(name))
        except KeyError:
            return False

    def of(self, name: str) -> Made:
        """Return the rule that a stored tensor falls under.

        Raises:
            KeyError: there is none.
        """
        found = _BLOCK.match(name)
        block = int(found[1]) if found else None
        general = name if block is None else name.replace(f"blk.{block}.", "blk.{}.", 1)
        base, dot, suffix = general.rpartition(".")
        suffix = f"{dot}{suffix}" if suffix in ("weight", "bias") else ""
        rule, ending = self._by_name.get(general), ""
        if rule is None and suffix:
            rule, ending = self._by_name.get(base), suffix
        if rule is None:
            raise KeyError(name)

        def filled(names: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(each.replace("{}", str(block)) + ending for each in names)

        return Made(filled(rule.stored), filled(rule.made), rule.convert, block)


def named(names: Mapping[str, str], convert: Convert = unchanged) -> list[Rule]:
    """Return a rule for each pair of a stored tensor's name and a parameter's."""
    return [Rule((stored,), (made,), convert) for stored, made in names.items()]


def blocks(prefix: str, names: Mapping[str, str], convert: Convert = unchanged) -> list[Rule]:
    """Return rules for what every block has; `prefix` is that of a block's parameters, as in ``model.layers.{}``."""
    return named({f"blk.{{}}.{stored}": f"{prefix}.{made}" for stored, made in names.items()}, convert)
