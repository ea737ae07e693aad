"""What to say of a model's settings when transformers can make nothing of them."""

import re
from collections.abc import Mapping
from typing import Any

from layerwise.text import harmless

_SIZE = re.compile(r"(^|[._])(num|n)_|_(count|length|size)\b")
"""In the name of a setting that counts or measures something, in config.json and in GGUF."""


def what_failed(error: Exception, settings: Mapping[str, Any]) -> str:
    """Return what an error says, and which sizes among the settings that caused it are below 1."""
    said = harmless(str(error))[:400]
    if isinstance(error, LookupError | ArithmeticError):  # their text alone is a bare name, or has no name at all
        said = f"{type(error).__name__}: {said}"
    odd = [
        f"{harmless(str(name))[:80]} is {value}"
        for name, value in settings.items()
        if isinstance(value, int) and not isinstance(value, bool) and value < 1 and _SIZE.search(str(name))
    ]
    return f"{said} ({', '.join(odd[:3])})" if odd else said
