import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Lenses and sums that are remembered are those of one test."""
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path / "cache"))
