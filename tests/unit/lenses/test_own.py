import pytest

from layerwise.lenses import own
from layerwise.lenses.own import model_folder, own_lens_folder, own_lenses
from tests.lenses import saved_lens


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("smollm2-135m", "smollm2-135m"),
        ("SmolLM2-135M", "smollm2-135m"),
        ("gemma-2-9b", "google--gemma-2-9b"),
        ("google/gemma-2-9b", "google--gemma-2-9b"),
        ("random:smollm2-135m", None),
        ("some model in memory", "some--model--in--memory"),
    ],
)
def test_all_names_of_a_model_lead_to_one_folder(name, folder):
    assert model_folder(name) == folder


def test_a_lens_fitted_here_is_found(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(own, "SHIPPED", tmp_path / "none")
    assert own_lens_folder("smollm2-135m", "ridge") is None
    folder = saved_lens(own.fitted_here() / "smollm2-135m" / "ridge", tiny)
    assert own_lens_folder("smollm2-135m", "ridge") == folder
    assert own_lens_folder("random:smollm2-135m", "ridge") is None
    assert own_lenses("SmolLM2-135M") == ("ridge",)


def test_a_lens_fitted_here_goes_before_one_that_comes_with_layerwise(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(own, "SHIPPED", tmp_path / "shipped")
    shipped = saved_lens(tmp_path / "shipped" / "smollm2-135m" / "ridge", tiny)
    assert own_lens_folder("smollm2-135m", "ridge") == shipped
    fitted = saved_lens(own.fitted_here() / "smollm2-135m" / "ridge", tiny)
    assert own_lens_folder("smollm2-135m", "ridge") == fitted
