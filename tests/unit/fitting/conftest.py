"""Text for tests of fits: Python's own manual, which comes with it everywhere."""

import pydoc_data.topics

import pytest


@pytest.fixture(scope="session")
def manual() -> list[str]:
    """Some documents in English, the same on every machine with one version of Python."""
    return [text[:3000] for _, text in sorted(pydoc_data.topics.topics.items())][:20]
