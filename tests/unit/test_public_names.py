import subprocess
import sys

import pytest

import layerwise

PUBLIC = [
    *("LayerwiseError", "Lens", "Model", "ModelInfo", "Request", "Run", "Site", "Token", "TokenProb", "Trace"),
    *(
        "ablate",
        "confirm",
        "evaluate_lenses",
        "fit_lens",
        "load",
        "load_lens",
        "open_run",
        "patch",
        "patchscope",
        "show",
    ),
    "steer",
]


def test_public_names_are_exactly_these():
    assert sorted(layerwise.__all__) == PUBLIC
    assert sorted(dir(layerwise)) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_can_be_had(name):
    assert getattr(layerwise, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"'layerwise' has no attribute 'trace_everything'"):
        layerwise.trace_everything  # noqa: B018


def test_importing_layerwise_imports_nothing_heavy():
    """`--help` and completion import the package; PyTorch alone would cost seconds."""
    heavy = "{'torch', 'transformers', 'transformer_lens', 'pandas', 'numpy'}"
    code = f"import layerwise, sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_error_is_a_layerwise_error():
    from layerwise import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and not issubclass(kind, Warning)]
    assert len(kinds) > 10
    assert all(issubclass(kind, errors.LayerwiseError) for kind in kinds)
    drawn = [line.split("── ")[1].split()[0] for line in str(errors.__doc__).splitlines() if "── " in line]
    assert sorted(drawn) == sorted(k.__name__ for k in kinds if k is not errors.LayerwiseError)
