import pytest

from layerwise.errors import PromptError
from layerwise.lenses.names import LensName, expect_told_apart, lens_name


@pytest.mark.parametrize(
    ("text", "kind", "place", "shown"),
    [
        ("logit", "logit", None, "logit"),
        ("ridge", "ridge", None, "ridge"),
        ("r:lens", "r", "lens", "r:lens"),
        ("jacobian:/home/ada/secret project/my lens.pt", "jacobian", "/home/ada/secret project/my lens.pt", None),
        ("tuned:C:\\x", "tuned", "C:\\x", None),
        ("tuned:../lens/", "tuned", "../lens/", "tuned:lens"),
        ("jacobian:gemma-2-9b", "jacobian", "gemma-2-9b", "jacobian:gemma-2-9b"),
    ],
)
def test_a_name_has_a_kind_and_perhaps_a_place(text, kind, place, shown):
    name = lens_name(text)
    assert name == LensName(kind, place)
    assert shown is None or name.shown == shown


def test_no_folder_and_no_markup_is_shown():
    assert lens_name("jacobian:/home/ada/<b>*x*`").shown == "jacobian:_b_x_"
    assert lens_name("jacobian:/home/ada/my lens.pt").shown == "jacobian:my_lens.pt"
    assert len(lens_name("jacobian:" + "x" * 500).shown) < 80


@pytest.mark.parametrize("text", ["crystal", "logit:here", "ridge:", "ridge: ", ":x", "", "Ridge"])
def test_other_names_are_refused_with_the_known_ones(text):
    with pytest.raises(PromptError, match=r"Unknown lens .*logit, raw, or a fitted one: ridge, tuned, jacobian, r "):
        lens_name(text)


def test_two_lenses_of_one_name_are_refused_and_one_that_is_asked_for_twice_is_not():
    expect_told_apart([("logit", "logit"), ("ridge:x", "1"), ("ridge:x", "1")])
    with pytest.raises(PromptError, match=r"both be called 'ridge:x'.*Rename the folder of one"):
        expect_told_apart([("ridge:x", "1"), ("ridge:x", "2")])
