import json
import math

import pytest

import layerwise as lw
from layerwise import Trace
from layerwise.errors import StoreError
from layerwise.tracing.answer_sentences import answer_sentence, spelling_hint
from layerwise.tracing.check_sentences import check_line
from layerwise.tracing.trace_file import to_json
from layerwise.view.document import document_json, view_document


@pytest.fixture(scope="module")
def trace(tiny):
    return tiny.trace("The capital of Germany is", answer=" Berlin", alternatives=" Rome", track=" the")


@pytest.fixture
def saved(trace, tmp_path):
    trace.save(tmp_path / "trace.json")
    return tmp_path / "trace.json"


def test_what_scripts_may_rely_on_is_there(trace, saved):
    data = json.loads(saved.read_text("utf-8"))
    assert data["model"] == "Qwen3ForCausalLM"
    assert data["prompt"] == "The capital of Germany is"
    assert data["tokens"][0] == {"id": trace.tokens[0].id, "text": "The"}
    assert (data["n_layers"], data["lens"], data["dtype"], data["device"]) == (4, "logit", "float32", "cpu")
    assert data["answer"]["text"] == " Berlin"
    assert data["answer"]["deciding_index"] == 0
    assert data["answer"]["tokens"][0]["text"] == " Berlin"
    assert [layer["layer"] for layer in data["layers"]] == [0, 1, 2, 3, 4]
    assert [layer["depth"] for layer in data["layers"]] == [0, 0.25, 0.5, 0.75, 1]
    [cell] = data["layers"][3]["positions"]
    assert cell["position"] == 4
    assert {"id", "text", "prob", "logprob"} <= cell["top"][0].keys()
    assert {"entropy_bits", "kl_to_final_bits", "kl_from_final_bits"} <= cell.keys()
    needed = {"prob", "rank", "first_token_prob", "first_token_rank", "logprob"}
    assert needed <= cell["answer"].keys()
    assert len(data["output"]) == 5
    assert data["checks"]["identity_error"] <= 1e-3


def test_no_answer_is_null(tiny, tmp_path):
    tiny.trace("The capital", positions="all").save(tmp_path / "t.json")
    data = json.loads((tmp_path / "t.json").read_text("utf-8"))
    assert data["answer"] is None
    assert all(cell["answer"] is None for layer in data["layers"] for cell in layer["positions"])


def test_an_answer_is_filled_in_at_the_prompts_last_position_only(tiny, tmp_path):
    tiny.trace("The capital of", answer=" France", positions="all").save(tmp_path / "t.json")
    for layer in json.loads((tmp_path / "t.json").read_text("utf-8"))["layers"]:
        assert [cell["answer"] is None for cell in layer["positions"]] == [True, True, False]


def test_a_wrong_answer_and_temperatures_come_back_as_they_were(tiny, tmp_path):
    request = lw.Request("The capital of", (" France",), wrong=" the city", temperatures=(0.5, 2.0))
    [[trace]] = tiny.trace_all([request])
    trace.save(tmp_path / "t.json")
    back = Trace.open(tmp_path / "t.json")
    assert back == trace
    assert back.wrong is not None and trace.wrong is not None
    assert back.wrong.worst_rank.tolist() == trace.wrong.worst_rank.tolist()
    assert back.lse.tolist() == trace.lse.tolist()


def test_saving_replaces_the_file_whole(trace, saved):
    before = saved.read_bytes()
    trace.save(saved)
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == ["trace.json"]


def test_a_missing_file_is_a_store_error(tmp_path):
    with pytest.raises(StoreError, match=r"none.json cannot be read: No such file"):
        Trace.open(tmp_path / "none.json")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_file_cut_short_is_a_store_error(saved, share):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(StoreError, match=r"cut short"):
        Trace.open(saved)


@pytest.mark.parametrize("content", ["[]", "{}", "3", '{"format": "layerwise trace 99"}', '{"format": "other"}'])
def test_something_else_is_a_store_error(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(StoreError, match=r"no trace that this version can open"):
        Trace.open(tmp_path / "x.json")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"", b"[" * 100000])
def test_bytes_that_are_no_json_are_a_store_error(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(StoreError):
        Trace.open(tmp_path / "x.json")


@pytest.mark.parametrize("part", ["layers", "tokens", "checks", "provenance", "answer", "output"])
def test_a_missing_part_is_a_store_error(saved, part):
    data = json.loads(saved.read_text("utf-8"))
    del data[part]
    saved.write_text(json.dumps(data))
    with pytest.raises(StoreError, match=r"a part is missing"):
        Trace.open(saved)


@pytest.mark.parametrize("value", [None, 7, "text", []])
@pytest.mark.parametrize("part", ["layers", "tokens", "checks", "provenance"])
def test_a_part_of_another_type_is_a_store_error(saved, part, value):
    data = json.loads(saved.read_text("utf-8"))
    data[part] = value
    saved.write_text(json.dumps(data))
    with pytest.raises(StoreError):
        Trace.open(saved)


def parts(data, path=()):
    """Yield where every part of a file is; of a list, its first entry stands for all."""
    for key, value in data.items() if isinstance(data, dict) else enumerate(data[:1]):
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from parts(value, (*path, key))


def test_whatever_stands_in_a_part_the_file_is_refused_or_the_trace_can_be_shown(tiny, tmp_path):
    asked = {"answers": (" Berlin", " Rome"), "wrong": " Paris", "track": (" the",), "temperatures": (0.5,)}
    [[trace]] = tiny.trace_all([lw.Request("The capital of Germany is", **asked, top_k=1, leaders=True)])
    saved = tmp_path / "trace.json"
    trace.save(saved)
    text, opened = saved.read_text("utf-8"), 0
    for path in parts(json.loads(text)):
        for other in (None, "x", [], {}, -1, math.inf, True):
            data = holder = json.loads(text)
            for key in path[:-1]:
                holder = holder[key]
            holder[path[-1]] = other
            saved.write_text(json.dumps(data).replace("Infinity", "1e400"))
            try:
                back = Trace.open(saved)
            except StoreError:
                continue
            opened += 1
            for sentence in (answer_sentence, check_line, spelling_hint, Trace.to_frame, to_json, repr):
                sentence(back)
            document_json(view_document([back]))
    assert opened > 100, "what is computed from the rest, or is any text, may be anything"


@pytest.mark.parametrize(
    ("path", "other", "said"),
    [
        (("request",), "x", "request"),
        (("tokens", 0, "id"), None, r"tokens\.0\.id: should be a valid integer"),
        (("layers", 1, "positions", 0, "position"), None, r"layers\.1\.positions\.0\.position"),
        (("answer", "accepted"), [], r"answer\.accepted: List should have at least 1 item"),
        (("checks", "identity_error"), "x", r"checks\.identity_error: should be a valid number"),
        (("layers", 2, "positions", 0, "position"), 0, "layers differ in their positions"),
        (("answer",), None, "answer is missing at a layer, or was not asked for"),
    ],
)
def test_a_refusal_names_the_part(saved, path, other, said):
    data = holder = json.loads(saved.read_text("utf-8"))
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = other
    saved.write_text(json.dumps(data))
    with pytest.raises(StoreError, match=said):
        Trace.open(saved)


@pytest.mark.parametrize(
    ("measure", "value"),
    [
        ("entropy_bits", -0.5),
        ("kl_to_final_bits", -0.5),
        ("kl_from_final_bits", -0.5),
        ("kl_from_logit_lens_bits", -0.5),
        ("total_variation", -0.5),
        ("total_variation", 1.5),
        ("echo_mass", -0.5),
        ("echo_mass", 1.5),
        ("residual_norm", -0.5),
        ("cosine_to_final", -1.5),
        ("cosine_to_final", 1.5),
    ],
)
def test_a_measure_that_cannot_be_so_large_or_small_is_refused(saved, measure, value):
    data = json.loads(saved.read_text("utf-8"))
    data["layers"][1]["positions"][0][measure] = value
    saved.write_text(json.dumps(data))
    with pytest.raises(
        StoreError, match=rf"layers\.1\.positions\.0\.{measure}: should be (less|greater) than or equal"
    ):
        Trace.open(saved)


@pytest.mark.parametrize("check", ["identity_error", "identity_limit", "states_error", "device_error"])
def test_a_negative_error_among_the_checks_is_refused(saved, check):
    data = json.loads(saved.read_text("utf-8"))
    data["checks"][check] = -0.5
    saved.write_text(json.dumps(data))
    with pytest.raises(StoreError, match="an error or a limit among the checks is negative"):
        Trace.open(saved)


def test_a_folder_that_cannot_be_written_is_a_store_error(trace, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"could not be written"):
        trace.save(tmp_path / "file" / "trace.json")
