"""Numbers that follow from ranks, by hand."""

import numpy as np
import pytest

from layerwise.evaluation.evaluated import Evaluation, LensRead, Word
from layerwise.fitting.figures import Figures
from layerwise.measures.uncertainty import Estimate

NOTHING = Figures((), 0, [], [], [], [], [], [])


def lens(name, unspoken, answers=(), controls=None):
    rows = np.array(answers, dtype=np.int64).reshape(-1, 5)
    given = {key: np.array(each) for key, each in (controls or {}).items()}
    return LensRead(name, None, np.array(unspoken), rows, NOTHING, given)


def evaluation(*lenses, known=(True, True, True, False)):
    words = [Word("i", "a", "x", known[0]), Word("i", "a", "y", known[1]), Word("j", "b", "z", known[2])]
    words.append(Word("k", "b", "w", known[3]))
    return Evaluation("toy", 4, "set", tuple(words), {}, lenses, {})


def there(estimates):
    """Returns what a method estimates, which is there."""

    def estimated(*args, **options) -> Estimate:
        found = estimates(*args, **options)
        assert found is not None
        return found

    return estimated


def passed(found, *args, **options) -> Estimate:
    return there(found.pass_at)(*args, **options)


LOGIT = lens("logit", [[1, 50, 50, 50, 1], [50, 50, 50, 50, 50], [50, 50, 50, 9, 1], [1, 1, 1, 1, 1]])
OWN = lens("own", [[50, 50, 3, 50, 1], [50, 2, 50, 50, 50], [50, 50, 10, 9, 1], [1, 1, 1, 1, 1]])


def test_pass_at_k_is_the_mean_over_items_of_the_share_of_their_words():
    found = evaluation(LOGIT, OWN)
    assert passed(found, LOGIT, 10).value == pytest.approx((0 + 1) / 2)  # layers 0 and n do not count
    assert passed(found, OWN, 10).value == 1
    assert passed(found, OWN, 2).value == pytest.approx((0.5 + 0) / 2)
    assert passed(found, LOGIT, 10).n == 2  # what the model does not know is left out


def test_a_share_of_the_layers_can_be_looked_at_alone():
    found = evaluation(LOGIT, OWN)
    assert passed(found, OWN, 10, depth=0.25).value == pytest.approx((0.5 + 0) / 2)  # layer 1 of 4
    assert passed(found, OWN, 10, depth=0.5).value == 1  # and 2


def test_categories_can_be_looked_at_alone():
    found = evaluation(LOGIT, OWN)
    assert found.categories == ["a", "b"]
    assert passed(found, LOGIT, 10, category="a").value == 0
    assert passed(found, LOGIT, 10, category="b").value == 1
    assert found.pass_at(LOGIT, 10, category="none") is None


def test_where_nothing_is_known_of_knowledge_all_words_count():
    assert passed(evaluation(LOGIT, known=(None,) * 4), LOGIT, 10).n == 3


def test_gains_are_paired_by_item():
    found = evaluation(LOGIT, OWN)
    gain = there(found.gain)(OWN, LOGIT, 10)
    assert (gain.value, gain.n) == (0.5, 2)
    assert there(found.gain)(LOGIT, LOGIT, 10).value == 0


def test_items_without_a_control_are_left_out_of_it():
    under = lens("own", OWN.unspoken, controls={"c": [[50] * 5, [5] * 5, [0] * 5, [1] * 5]})
    found = evaluation(LOGIT, under)
    assert passed(found, under, 10, control="c").value == 0.5
    assert passed(found, under, 10, control="c").n == 1
    above = there(found.gain_over_control)(under, "c", 10)
    assert (above.value, above.n) == (0.5, 1)
    assert found.controls == ["c"]


def test_first_layers_count_never_as_later_than_all():
    found = evaluation(LOGIT, OWN)
    assert there(found.first_readable)(OWN, 10).value == 2  # of 2, 1 and 2
    assert there(found.first_readable)(LOGIT, 1).value == 4  # of 4, never and 4


def test_known_answers_lead_from_a_layer_on():
    first = lens("logit", LOGIT.unspoken, [[9, 9, 9, 1, 1], [9, 9, 9, 9, 1]])
    earlier = lens("own", OWN.unspoken, [[9, 1, 9, 9, 1], [1, 9, 9, 1, 1]])
    found = evaluation(first, earlier)
    assert there(found.first_answer)(first).value == 3.5
    assert there(found.first_answer)(earlier).value == 2
    assert there(found.earlier_answer)(earlier, first).value == 1.5  # two layers, and one
    assert found.answers_by_layer(earlier).tolist() == [0.5, 0.5, 0, 0.5, 1]


def test_shares_by_layer_are_of_words_that_count():
    assert evaluation(OWN).by_layer(OWN, 10).tolist() == [0, 1 / 3, 2 / 3, 1 / 3, 2 / 3]


def test_of_one_block_layer_0_is_read():
    ranks = np.array([[3, 1], [50, 1]])
    only = LensRead("logit", None, ranks, np.empty((0, 2), dtype=np.int64), NOTHING)
    words = (Word("i", "a", "x", None), Word("j", "a", "y", None))
    assert passed(Evaluation("toy", 1, "set", words, {}, (only,), {}), only, 10).value == 0.5
