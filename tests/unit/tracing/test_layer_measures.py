"""A trace's measures: fields like any other, and what a file says of them."""

import copy
import json
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from layerwise import Request, Trace
from layerwise.errors import StoreError
from layerwise.measures.measure import COUNT, LOGPROB, NUMBER, SHARE, Measure
from layerwise.tracing.layer_measures import ANSWER_CURVES, MEASURES
from layerwise.tracing.trace_cells import _columns, _forms


@pytest.fixture(scope="module")
def trace(tiny):
    return tiny.trace("The capital of Germany is", answer=" Berlin", positions="all")


def test_measures_are_attributes_and_can_be_had_by_name(trace):
    assert list(trace.measures) == list(MEASURES)
    for name, values in trace.measures.items():
        assert name in dir(trace)
        assert values is getattr(trace, name)
        assert (values.shape, values.dtype) == ((5, 5), np.float32)
    for name, values in trace.answer.curves.items():
        assert values is getattr(trace.answer, name)
        assert values.shape == (5,)
        assert np.issubdtype(values.dtype, np.integer) == ANSWER_CURVES[name].range.whole


def test_copies_are_equal_and_one_with_another_measure_is_not(trace):
    for same in (copy.copy(trace), copy.deepcopy(trace), pickle.loads(pickle.dumps(trace)), replace(trace)):
        assert same == trace
    assert replace(trace, echo_mass=trace.echo_mass / 2) != trace


def test_every_value_lies_in_its_range(trace):
    for measures, values in ((MEASURES, trace.measures), (ANSWER_CURVES, trace.answer.curves)):
        for name, each in values.items():
            assert each.min() >= measures[name].range.low - 1e-3, name
            assert each.max() <= measures[name].range.high + 1e-3, name


def test_a_cell_of_a_file_keeps_the_names_and_order_of_its_parts(trace, tmp_path):
    trace.save(tmp_path / "trace.json")
    cell = json.loads((tmp_path / "trace.json").read_text("utf-8"))["layers"][1]["positions"][-1]
    divergences = ["kl_to_final_bits", "kl_from_final_bits", "kl_from_logit_lens_bits", "total_variation"]
    measures = ["entropy_bits", *divergences, "echo_mass", "residual_norm", "cosine_to_final"]
    curves = ["prob", "rank", "ties", "margin", "logprob", "worst_rank", "first_token_prob", "first_token_rank"]
    always = [name for name in cell if name not in MEASURES or not MEASURES[name].later]
    assert always == ["position", "top", *measures, "answer", "wrong", "tracked"]
    assert [name for name in cell["answer"] if not ANSWER_CURVES[name].later] == curves


def test_how_far_a_lens_is_from_the_logit_lens_is_told_where_both_were_read(tiny, tmp_path):
    alone = tiny.trace("The capital of Germany is", lens="raw")
    beside = tiny.trace_all([Request("The capital of Germany is")], lenses=["raw", "logit"])[0][0]
    assert alone.lens == beside.lens == "raw"
    assert alone.kl_from_logit_lens_bits is None
    assert "kl_from_logit_lens_bits" not in alone.measures
    assert float(beside.kl_from_logit_lens_bits.max()) > 0.01
    for name in alone.measures:
        np.testing.assert_allclose(alone.measures[name], beside.measures[name], rtol=1e-4, atol=1e-5, err_msg=name)
    alone.save(tmp_path / "trace.json")
    assert Trace.open(tmp_path / "trace.json") == alone


def read_as(measure: Measure, cell: dict[str, Any]) -> dict[str, Any]:
    form: Any = TypedDict("form", _forms({"it": measure}))  # pyright: ignore[reportArgumentType]  # made of a record
    return TypeAdapter(form).validate_python(cell, strict=True)


@pytest.mark.parametrize(
    ("range", "fits", "fits_not"),
    [
        (SHARE, [0.0, 1.0, 1.0001, -0.0001], [1.01, -0.01, np.nan, "0"]),
        (LOGPROB, [0.0, -1e30, 1e-4], [0.01, -1e39]),
        (NUMBER, [-1e30, 1e30], [1e39, -1e39]),
        (COUNT, [0, 3], [-1, 0.5, 2**63]),
    ],
)
def test_a_file_is_held_against_the_declared_range(range, fits, fits_not):
    measure = Measure("it", "", range, abs, shown=True)
    for value in fits:
        assert read_as(measure, {"it": value}) == {"it": value}
    for value in fits_not:
        with pytest.raises(ValidationError):
            read_as(measure, {"it": value})


def test_only_a_measure_that_came_later_may_be_missing_in_a_file():
    always = Measure("it", "", SHARE, abs, shown=True)
    assert read_as(replace(always, later=True), {}) == {}
    with pytest.raises(ValidationError, match="Field required"):
        read_as(always, {})


def test_a_file_that_lacks_a_measure_is_read_without_it(trace, tmp_path):
    trace.save(tmp_path / "trace.json")
    layer = json.loads((tmp_path / "trace.json").read_text("utf-8"))["layers"][1]
    for cell in layer["positions"]:
        del cell["echo_mass"]
    columns = _columns(layer)
    assert columns.measured == tuple(name for name in MEASURES if name != "echo_mass")
    for at, name in enumerate(columns.measured):
        assert columns.measures[:, at].tolist() == getattr(trace, name)[1].tolist()
    del layer["positions"][2]["entropy_bits"]
    with pytest.raises(ValueError, match="positions differ in their measures"):
        _columns(layer)


ALWAYS = [name for name, each in (MEASURES | ANSWER_CURVES).items() if not (each.later or each.sometimes)]


@pytest.mark.parametrize("name", ALWAYS)
def test_a_measure_that_every_file_has_must_be_there(trace, tmp_path, name):
    trace.save(tmp_path / "trace.json")
    data = json.loads((tmp_path / "trace.json").read_text("utf-8"))
    for cell in (layer["positions"][-1] for layer in data["layers"]):
        del (cell if name in MEASURES else cell["answer"])[name]
    (tmp_path / "trace.json").write_text(json.dumps(data))
    with pytest.raises(StoreError, match=f"{name}: Field required|{name}: should be there"):
        Trace.open(tmp_path / "trace.json")
