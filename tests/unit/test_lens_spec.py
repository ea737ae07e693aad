import pytest

from layerwise.errors import PromptError
from layerwise.lens_spec import RAW, spec_of


def test_a_lens_is_found_by_its_name():
    assert spec_of("raw") is RAW


@pytest.mark.parametrize("name", ["tuned", "", "Logit", "\u202e" + "x" * 500])
def test_an_unknown_name_is_refused_with_those_that_are_known(name):
    with pytest.raises(PromptError, match=r"Unknown lens '.*; expected one of logit, raw\.") as refused:
        spec_of(name)
    assert len(str(refused.value)) < 120
    assert "\u202e" not in str(refused.value)
