import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerwise.questions.forms import join_forms, split_forms


@pytest.mark.parametrize(
    ("cell", "forms"),
    [
        ("Rome", ["Rome"]),
        ("Rome|Roma", ["Rome", "Roma"]),
        ("", [""]),
        (r"\|", ["|"]),
        (r"\|\|", ["||"]),
        (r"a\|b|c", ["a|b", "c"]),
        (r"\alpha|\beta", [r"\alpha", r"\beta"]),
        (r"C:\\|D:", ["C:\\", "D:"]),
        (r"a\\\|b", [r"a\|b"]),
        ("ends\\", ["ends\\"]),
        (r"two\\backslashes", [r"two\\backslashes"]),
        ("|a", ["", "a"]),
    ],
)
def test_a_backslash_means_something_right_before_a_bar_only(cell, forms):
    assert split_forms(cell) == forms


@given(st.lists(st.text("a\\| é"), min_size=1, max_size=4))
def test_what_is_joined_is_split_again(forms):
    assert split_forms(join_forms(forms)) == forms
