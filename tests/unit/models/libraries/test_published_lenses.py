import subprocess
import sys

import pytest

from layerwise.models.libraries.published_lenses import published_jacobian_lens, published_names


@pytest.mark.parametrize("name", ["gemma-2-9b", "Gemma-2-9B", "google/gemma-2-9b"])
def test_a_lens_is_had_by_its_short_name_and_by_its_models_id(name):
    lens = published_jacobian_lens(name)
    assert lens is not None
    assert lens.name == "gemma-2-9b"
    assert lens.filename.endswith("gemma-2-9b_jacobian_lens.pt")
    assert len(lens.revision) == 40
    assert lens.address.startswith(f"https://huggingface.co/{lens.repo_id}/blob/{lens.revision}/")


def test_other_names_are_unknown():
    assert published_jacobian_lens("smollm2-135m") is None
    assert published_jacobian_lens("revision") is None
    assert len(published_names()) > 30


def test_transformerlens_agrees():
    from transformer_lens.tools.analysis import jacobian_lens as theirs

    for name in published_names():
        lens = published_jacobian_lens(name)
        assert lens is not None
        assert theirs._resolve_registry_entry(name) == (lens.repo_id, lens.filename)
        assert theirs._registry_revision() == lens.revision


def test_transformerlens_is_not_imported_for_it():
    code = (
        "import sys; from layerwise.models.libraries.published_lenses import published_names; published_names(); "
        "print({'torch', 'transformer_lens'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
