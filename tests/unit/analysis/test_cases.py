"""Cases of a stored run hold what the run holds."""

import numpy as np
import pytest

from layerwise.analysis.cases import CURVES, cases_of
from layerwise.execution.recording import record
from layerwise.studies.study import plan_study


@pytest.fixture(scope="module")
def run(load_family, tmp_path_factory):
    """Two toy models on a flat set, of which the first question is refused, and a question of the study's own."""
    folder = tmp_path_factory.mktemp("study")
    lines = ["item,prompt,answer,alternatives,direction,wording,group"]
    lines += ['refused,"The capital of Germany is",Berlin,Berlin Paris,there,first,']
    for place in ("Germany", "France", "Italy"):
        lines += [f"{place},The capital of {place} is a city called,Paris,Rome|Berlin,there,first,"]
        lines += [f"{place},Question: What is the capital of {place}? Answer:,Rome,,there,second,"]
    (folder / "flat.csv").write_text("\n".join(lines) + "\n")
    loaded = {load_family(name).info.name: load_family(name) for name in ("qwen3", "gemma2")}
    study = plan_study(
        {
            "name": "toy",
            "title": "Toy",
            "models": list(loaded),
            "lenses": ["raw", "logit"],
            "temperatures": [2.0, 1.0, 0.5],
            "sets": [{"name": "flat.csv"}],
            "questions": [{"id": "own", "prompt": "The capital of", "answers": [" Germany"]}],
        },
        "test",
        folder,
    )
    return record(study, folder / "run", load=loaded.__getitem__)


def test_there_are_cases_of_each_model_and_lens_in_the_studys_order(run):
    found = cases_of(run)
    assert [(each.model, each.lens) for each in found] == [
        (model, lens) for model in run.study["models"] for lens in ("raw", "logit")
    ]
    assert {each.n_layers for each in found} == {4}
    assert {each.temperatures for each in found} == {(2.0, 1.0, 0.5)}


def test_refused_questions_and_the_studys_own_are_left_out(run):
    questions = run.questions()
    refused = questions[questions["refused"].notna()]
    assert set(refused["question"]) == {"flat/refused/there/first"}
    for each in cases_of(run):
        assert len(each) == 6
        assert not {"own", "flat/refused/there/first"} & set(each.rows["question"])
        assert set(each.items) == {"flat/Germany", "flat/France", "flat/Italy"}


def test_every_number_is_the_stored_one(run):
    layers, questions = run.layers(), run.questions()
    for each in cases_of(run):
        mine = layers[(layers["model"] == each.model) & (layers["lens"] == each.lens)]
        for at, question in enumerate(each.rows["question"]):
            stored = mine[mine["question"] == question]
            for name in CURVES:
                np.testing.assert_array_equal(each.curves[name][at], stored[name].to_numpy(dtype=float), err_msg=name)
            assert each.top[at].tolist() == [tokens[0]["id"] for tokens in stored["top"]]
            assert each.lse is not None
            np.testing.assert_array_equal(each.lse[at], np.stack(stored["lse"].to_list()))
            [row] = questions[
                (questions["model"] == each.model)
                & (questions["lens"] == each.lens)
                & (questions["question"] == question)
            ].to_dict("records")
            case = each.rows.iloc[at]
            assert case["item"] == f"{row['set']}/{row['item']}"
            for name in ("prompt", "answer", "known", "direction", "wording", "group"):
                assert case[name] == row[name]
            for name in ("settled_top1", "first_top1", "half_entropy", "settled_kl_1bit"):
                expected = row[name]
                assert each.layers(name)[at] == (5 if np.isnan(expected) else expected)
            assert each.whole_prob[at] == np.exp(float(stored["answer_logprob"].iloc[-1]))


def test_log_sum_exp_belongs_to_the_temperature_of_its_column(run):
    """KL(layer n ‖ output) must be 0 at temperature 1, and is only with the right column."""
    from layerwise.measures.calibration import kl_at_temperatures

    for each in cases_of(run):
        if each.lens == "logit":
            assert each.lse is not None
            kl = kl_at_temperatures(
                each.curves["kl_from_final_bits"],
                each.curves["entropy_bits"][:, -1],
                each.lse,
                np.array(each.temperatures),
            )
            assert np.all(kl[:, -1, 1] < 1e-4)
            assert np.all(kl[:, -1, [0, 2]] > 1e-3)


def test_questions_without_a_wrong_answer_have_no_numbers_for_one(run):
    for each in cases_of(run):
        without = each.rows["wrong"].isna().to_numpy()
        assert without.sum() == 3
        for name in ("wrong_prob", "wrong_logprob", "wrong_rank"):
            assert np.isnan(each.curves[name][without]).all()
            assert np.isfinite(each.curves[name][~without]).all()


def test_the_order_of_shards_changes_nothing(run):
    turned = type(run)(run.path, run.manifest | {"shards": run.manifest["shards"][::-1]})
    for one, other in zip(cases_of(run), cases_of(turned), strict=True):
        assert one.rows.equals(other.rows)
        for name in CURVES:
            np.testing.assert_array_equal(one.curves[name], other.curves[name])


def test_wordings_come_in_the_runs_order_although_the_first_was_refused(run):
    for each in cases_of(run):
        assert list(dict.fromkeys(each.rows["wording"])) == ["first", "second"]


def test_a_run_without_results_has_no_cases(run):
    empty = type(run)(run.path, run.manifest | {"models": {}, "shards": []})
    assert cases_of(empty) == []


def test_questions_can_be_chosen(cases):
    made = cases(
        [{"set": "a", "direction": "x"}, {"set": "b", "known": False}, {"set": "a"}],
        answer_prob=np.arange(15).reshape(3, 5),
        top=np.arange(15).reshape(3, 5),
        lse=np.arange(15.0).reshape(3, 5, 1),
        temperatures=(1.0,),
    )
    some = made.of(set="a")
    assert some.items == ["a/i00", "a/i02"]
    assert some.curves["answer_prob"].tolist() == some.top.tolist() == some.lse[..., 0].tolist()
    assert some.top[:, 0].tolist() == [0, 10]
    assert len(made.of(set="a", direction="x")) == len(made.of(set="b")) == 1
    assert len(made.known) == 2
    assert len(made.of(set="c")) == 0
    assert made.of(set="c").inner is None


def test_never_is_beyond_every_depth(cases):
    made = cases([{"item": "a", "settled_top1": 4}, {"item": "b", "settled_top1": None}])
    assert made.layers("settled_top1").tolist() == [4, 5]
    assert made.depth_per_item("settled_top1").values.tolist() == [1, 1.25]


@pytest.mark.parametrize(
    ("model", "random"), [("random:x", True), (" Random:x", True), ("x", False), ("a/random:x", False)]
)
def test_the_control_is_known_by_its_name(cases, model, random):
    assert cases([{}], model=model).random == random
