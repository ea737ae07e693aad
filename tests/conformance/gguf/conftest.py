import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Keep what is prepared of these files out of the user's cache."""
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path / "cache"))
