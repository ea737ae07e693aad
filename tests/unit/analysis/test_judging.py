"""Claims judged on cases made by hand."""

from typing import Any

import numpy as np
import pytest

from layerwise.analysis.cases import Cases
from layerwise.analysis.judging import SEED, judge
from layerwise.measures.claims import Region
from layerwise.measures.uncertainty import estimate
from layerwise.studies.claim_files import Claim


def claim(**changes):
    plain = {"id": "c", "sentence": "It settles.", "estimator": "settled_depth", "region": "0.7 .. 0.8", "null": "No."}
    return Claim.model_validate(plain | {"least_items": 2} | changes)


def judged(made: Cases, **changes: Any) -> Any:
    return judge(claim(**changes), {"logit": made})


def test_a_judgement_is_the_estimate_beside_the_region(cases):
    made = cases([{"settled_top1": layer} for layer in (3, 3, 3, 3, 2)])
    found = judged(made)
    assert found.estimate == estimate(np.array([0.75, 0.75, 0.75, 0.75, 0.5]), "median", seed=SEED)
    assert found.region == Region(0.7, 0.8)
    assert (found.model, found.sets, found.missing) == ("m", ("s",), None)
    assert found.verdict == "inconclusive"
    assert judged(made, region="0.5 .. 0.75").verdict == "supported"
    assert judged(made, region="0.8 .. 0.9").verdict == "not supported"


@pytest.mark.parametrize(
    ("layers", "n_layers", "expected"), [(0, 4, "not supported"), (1, 4, "supported"), (1, 40, "not supported")]
)
def test_a_region_of_depths_is_widened_by_the_models_own_layers(cases, layers, n_layers, expected):
    """All settle at depth 1, beyond a region up to 0.85: one layer of 4 reaches it, one of 40 does not."""
    made = cases([{"settled_top1": n_layers} for _ in range(5)], n_layers=n_layers)
    found = judged(made, region="0.8 .. 0.85", widened_by_layers=layers)
    assert found.verdict == expected
    assert found.region == Region(0.8, 0.85).widened(layers / n_layers)


def test_regions_that_are_no_depths_are_not_widened(cases):
    made = cases([{} for _ in range(5)], entropy_bits=np.ones((5, 5)))
    found = judged(made, estimator="late_entropy_change", region="> 0.1", widened_by_layers=1)
    assert found.region == Region.parse("> 0.1")


def test_only_known_answers_count_unless_all_are_asked_for(cases):
    made = cases([{"settled_top1": 3}, {"settled_top1": 3}, {"settled_top1": None, "known": False}])
    known, every = judged(made), judged(made, over="all")
    assert (known.estimate.n, every.estimate.n) == (2, 3)
    assert known.estimate.high == 0.75
    assert every.estimate.high == 1.25


def test_questions_are_those_of_the_sets_and_directions_that_are_named(cases):
    places = [{"set": s, "direction": d, "item": i} for s in "ab" for d in "xy" for i in "12"]
    rows = [place | {"settled_top1": at % 5} for at, place in enumerate(places)]
    made = cases(rows)
    found = judged(made, sets=["b"], directions=["y"], region="> 0")
    assert found.sets == ("b",)
    assert found.estimate.n == 2
    assert found.estimate.value == np.median([6 % 5, 7 % 5]) / 4


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"least_items": 4}, "3 known items, and at least 4 are needed"),
        ({"least_items": 6, "over": "all"}, "5 items, and at least 6 are needed"),
        ({"estimator": "norm_matters"}, "the run has no raw lens"),
        ({"sets": ["s", "other"]}, "no questions of the set other"),
        ({"directions": ["back"]}, "no questions of the direction back"),
        (
            {"estimator": "direction_difference", "directions": ["there", "away"]},
            "0 known items in both directions, and at least 2 are needed",
        ),
    ],
)
def test_what_cannot_be_judged_says_what_is_missing(cases, changes, missing):
    rows = [{"direction": "there", "settled_top1": 3}] * 3 + [{"direction": "away", "known": False}] * 2
    found = judged(cases(rows), **changes)
    assert (found.verdict, found.estimate, found.missing) == ("cannot be judged", None, missing)


def test_where_nothing_is_known_nothing_is_judged(cases):
    made = cases([{"known": False}] * 20)
    assert judged(made).missing == "0 known items, and at least 2 are needed"
    inner = judged(made, estimator="inner_minus_final")
    assert (inner.verdict, inner.missing) == (
        "cannot be judged",
        "too few items (0) to choose an inner layer on others",
    )
    nothing = judged(cases([]))
    assert nothing.verdict == "cannot be judged"


def test_the_order_of_questions_changes_no_judgement(cases):
    draw = np.random.default_rng(1)
    rows = [
        {
            "item": f"i{at // 3}",
            "wording": f"w{at % 3}",
            "direction": "xy"[at % 2],
            "settled_top1": int(draw.integers(5)),
        }
        for at in range(60)
    ]
    for row in rows:
        row["half_entropy"] = int(draw.integers(4))
    curves = {name: draw.random((60, 5)) for name in ("answer_prob", "entropy_bits", "kl_from_logit_lens_bits")}
    curves["answer_logprob"] = -draw.random((60, 5))
    top = draw.integers(3, size=(60, 5))
    order = draw.permutation(60)

    def both(which):
        shuffled = {name: values[which] for name, values in curves.items()}
        made = [rows[at] for at in which]
        return {lens: cases(made, lens=lens, top=top[which], **shuffled) for lens in ("logit", "raw")}

    for name in (
        "settled_depth", "phases", "inner_minus_final", "direction_difference", "norm_matters",
        "late_entropy_change", "inner_top_is_output",
    ):  # fmt: skip
        asked = claim(estimator=name, region="> 0", directions=["x", "y"])
        first, second = judge(asked, both(np.arange(60))), judge(asked, both(order))
        assert first.estimate is not None
        assert first == second


def test_a_judgement_names_the_inner_layers_that_were_chosen(cases):
    made = cases([{"settled_top1": 3} for _ in range(6)], answer_prob=np.tile([0, 0.1, 0.2, 0.6, 0.5], (6, 1)))
    for name in ("inner_minus_final", "phases", "inner_top_is_output"):
        assert judged(made, estimator=name, region="> 0").inner_layers == (3,)
    assert judged(made).inner_layers == ()
