"""Fits of a tiny model from text to folder: checkpoints, shards, an end when halves agree, and what is refused."""

import json

import pytest
import torch

import layerwise as lw
from layerwise.errors import LensError, StoreError, TextError
from layerwise.fitting import checkpoint_clock, sums_folder
from layerwise.fitting.listener import Listener
from layerwise.fitting.plan import FitRequest
from layerwise.fitting.ridge import RidgeEstimator
from layerwise.tracing.lens_fitting import carry_out_shard, merge

SETTINGS = {"count": 48, "length": 16}


@pytest.fixture(scope="module")
def model(load_family):
    return load_family("llama3")


@pytest.fixture
def often(monkeypatch):
    """Has a checkpoint written after every batch of two windows."""
    monkeypatch.setattr(checkpoint_clock, "BETWEEN", 0)
    monkeypatch.setattr(checkpoint_clock, "_SHARE_OF_WRITING", float("inf"))
    monkeypatch.setattr("layerwise.fitting.methods._WINDOWS_AT_ONCE", 2)


@pytest.fixture
def killed(monkeypatch):
    """Ends a fit in its n-th batch, as kill -9 would: nothing more is written."""

    def after(batches):
        usual, taken = RidgeEstimator.add, []

        def add(self, windows, progress=None):
            taken.append(windows)
            if len(taken) > batches:
                raise KeyboardInterrupt
            usual(self, windows, progress)

        monkeypatch.setattr(RidgeEstimator, "add", add)
        return taken

    return after


def card_of(lens):
    assert lens.card is not None
    return lens.card


def files(folder):
    return {each.name: each.read_bytes() for each in folder.iterdir()}


def fitted(model, out, manual, **more):
    return lw.fit_lens(model, "ridge", out, manual, **{**SETTINGS, **more})


def test_a_fit_writes_a_lens_with_its_card(model, manual, tmp_path):
    told, notes = [], []
    lens = fitted(model, tmp_path / "lens", manual, on_estimate=told.append, on_note=notes.append)
    card = card_of(lens)
    assert (card.method, card.layers, card.n_layers, card.d_model) == ("ridge", (0, 1, 2, 3), 4, 64)
    assert card.text["windows"] == 48
    assert card.text["tokens"] == 48 * 16
    assert 8 < card.text["held_out"]["windows"] <= 32
    assert card.weights_sum == model.identified().weights_sum
    assert card.estimator == {"length": 16, "penalty": 3e-4, "first": 1, "seed": 0}
    assert len(card.held_out["kl_bits"]) == 4
    assert len(card.held_out["halves"]["top1_agreement"]) == 4
    assert sorted(lens.translators) == [0, 1, 2, 3]
    assert [each.name for each in tmp_path.iterdir()] == ["lens"]
    [cost] = told
    assert str(cost).startswith("This takes about ")


def test_the_order_of_texts_changes_nothing(model, manual, tmp_path):
    one, other = fitted(model, tmp_path / "a", manual), fitted(model, tmp_path / "b", manual[::-1])
    assert card_of(one) == card_of(other)


def test_an_interrupted_fit_goes_on_to_the_same_lens(model, manual, tmp_path, often, killed, monkeypatch):
    fitted(model, tmp_path / "whole", manual)
    with monkeypatch.context() as patch:
        patch.setattr(RidgeEstimator, "add", RidgeEstimator.add)
        killed(5)
        with pytest.raises(KeyboardInterrupt):
            fitted(model, tmp_path / "lens", manual)
    assert (tmp_path / "lens.partial" / "fit.json").is_file()
    assert not (tmp_path / "lens").exists()
    taken = killed(1000)
    notes = []
    fitted(model, tmp_path / "lens", manual, on_note=notes.append)
    assert len(taken) == 24 - 5
    assert any(note.startswith("Going on with the fit in ") for note in notes)
    assert files(tmp_path / "lens") == files(tmp_path / "whole")
    assert not (tmp_path / "lens.partial").exists()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"options": {"penalty": 0.5}}, "settings"),
        ({"length": 20}, "text"),
        ({"layers": "1:3"}, "layers"),
        ({"until": 0.99}, "until"),
    ],
)
def test_what_another_fit_left_is_refused(model, manual, tmp_path, often, killed, changed, said):
    killed(5)
    with pytest.raises(KeyboardInterrupt):
        fitted(model, tmp_path / "lens", manual)
    with pytest.raises(LensError, match=f"the sums of another fit.*{said}.*another --out, or delete that folder"):
        fitted(model, tmp_path / "lens", manual, **changed)


def test_what_another_text_or_model_left_is_refused(model, manual, tmp_path, often, killed, load_family):
    killed(5)
    with pytest.raises(KeyboardInterrupt):
        fitted(model, tmp_path / "lens", manual)
    with pytest.raises(LensError, match=r"the sums of another fit.*text"):
        fitted(model, tmp_path / "lens", manual[:15])
    with pytest.raises(LensError, match=r"the sums of another fit.*weights"):
        fitted(load_family("qwen3"), tmp_path / "lens", manual)


@pytest.mark.parametrize("spoil", ["cut", "sum", "json", "schema"])
def test_a_damaged_checkpoint_is_refused(model, manual, tmp_path, often, killed, spoil):
    killed(5)
    with pytest.raises(KeyboardInterrupt):
        fitted(model, tmp_path / "lens", manual)
    folder = tmp_path / "lens.partial"
    state = folder / "fit.json"
    if spoil == "cut":
        (folder / "first.safetensors").write_bytes((folder / "first.safetensors").read_bytes()[:-8])
    elif spoil == "sum":
        (folder / "second.safetensors").write_bytes((folder / "first.safetensors").read_bytes())
    elif spoil == "json":
        state.write_text("[]")
    else:
        state.write_text(json.dumps(json.loads(state.read_text()) | {"schema": 9}))
    with pytest.raises(LensError, match="Delete the folder"):
        fitted(model, tmp_path / "lens", manual)


def test_a_full_disk_is_told_and_loses_no_checkpoint(model, manual, tmp_path, often, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sums_folder, "write_safetensors", fail)
    with pytest.raises(StoreError, match=r"No space left on device.*run the same command again"):
        fitted(model, tmp_path / "lens", manual)


def test_shards_add_up_to_the_whole(model, manual, tmp_path, often):
    whole = fitted(model, tmp_path / "whole", manual)
    request = FitRequest("ridge", manual, 48, 16)
    for index in (1, 2, 3):
        carry_out_shard(model, request, (index, 3), tmp_path / f"shard-{index}", Listener())
    shards = [tmp_path / f"shard-{index}" for index in (3, 1, 2)]
    merged = merge(model, shards, tmp_path / "merged")
    for layer, translator in merged.translators.items():
        torch.testing.assert_close(
            translator.tensors["matrix"], whole.translators[layer].tensors["matrix"], rtol=2e-3, atol=1e-4
        )
    assert card_of(merged).text["sum"] == card_of(whole).text["sum"]
    assert card_of(merged).text["held_out"] == card_of(whole).text["held_out"]
    assert card_of(merged).held_out["halves"]["windows"] == [24, 24]
    assert card_of(merged).held_out["kl_bits"] == pytest.approx(card_of(whole).held_out["kl_bits"], abs=1e-2)

    with pytest.raises(LensError, match="Of 3 shards these are missing: 1"):
        merge(model, [shards[0], shards[2]], tmp_path / "other")
    with pytest.raises(LensError, match="Each shard counts once"):
        merge(model, [*shards, shards[0]], tmp_path / "other")
    with pytest.raises(LensError, match="holds no sums of a fit"):
        merge(model, [tmp_path / "whole"], tmp_path / "other")
    carry_out_shard(model, FitRequest("ridge", manual, 48, 16, seed=1), (1, 3), tmp_path / "seeded", Listener())
    with pytest.raises(LensError, match=r"another fit.*seed"):
        merge(model, [tmp_path / "seeded", *shards[:1], shards[2]], tmp_path / "other")


def test_a_shard_that_was_interrupted_goes_on(model, manual, tmp_path, often, killed, monkeypatch):
    request = FitRequest("ridge", manual, 48, 16)
    carry_out_shard(model, request, (2, 3), tmp_path / "whole", Listener())
    with monkeypatch.context() as patch:
        patch.setattr(RidgeEstimator, "add", RidgeEstimator.add)
        killed(3)
        with pytest.raises(KeyboardInterrupt):
            carry_out_shard(model, request, (2, 3), tmp_path / "shard", Listener())
    with pytest.raises(LensError, match=r"another fit.*shard"):
        carry_out_shard(model, request, (1, 3), tmp_path / "shard", Listener())
    with pytest.raises(LensError, match="no shard but a fit that was interrupted"):
        merge(model, [tmp_path / "shard.partial"], tmp_path / "other")
    carry_out_shard(model, request, (2, 3), tmp_path / "shard", Listener())
    assert files(tmp_path / "shard") == files(tmp_path / "whole")


def test_a_fit_ends_when_its_halves_agree(model, manual, tmp_path, often):
    lens = fitted(model, tmp_path / "lens", manual, until=0.001)
    assert card_of(lens).held_out["halves"]["windows"] == [8, 8]
    assert card_of(lens).text["windows"] == 16
    assert card_of(fitted(model, tmp_path / "all", manual, until=1.0)).text["windows"] == 48


def test_halves_of_more_text_agree_better(model, manual, tmp_path):
    small, large = (fitted(model, tmp_path / f"{count}", manual, count=count) for count in (16, 160))
    few, many = (card_of(lens).held_out["halves"]["matrix_difference"] for lens in (small, large))
    assert all(more < less for more, less in zip(many, few, strict=True))


def test_the_model_can_write_its_text_itself(model, tmp_path):
    one = lw.fit_lens(model, "ridge", tmp_path / "a", count=8, length=12)
    other = lw.fit_lens(model, "ridge", tmp_path / "b", count=8, length=12)
    assert card_of(one) == card_of(other)
    assert card_of(one).text["windows"] == 8
    seeded = lw.fit_lens(model, "ridge", tmp_path / "c", count=8, length=12, seed=1)
    assert card_of(seeded).text["sum"] != card_of(one).text["sum"]


def test_files_and_texts_are_given_side_by_side(model, manual, tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text("\n".join(json.dumps({"text": text}) for text in manual), encoding="utf-8")
    assert card_of(fitted(model, tmp_path / "a", [file, *manual[:3]])) == card_of(fitted(model, tmp_path / "b", manual))
    with pytest.raises(TextError, match="Texts come as a list"):
        fitted(model, tmp_path / "c", "one text")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"options": {"rank": 3}}, "ridge has no setting 'rank'; it has penalty, first"),
        ({"options": {"first": 16}}, "no position from 16 on"),
        ({"length": 1000}, r"more than .* reads \(128\)"),
        ({"count": 1}, "at least 2 texts"),
        ({"until": 1.5}, "a share of positions"),
        ({"layers": "4"}, "'4' names no layers.*layer 4 is the output"),
        ({"layers": "a:b"}, "names no layers"),
        ({"layers": "3:3"}, "names no layer; there are layers 0 to 3"),
    ],
)
def test_settings_that_cannot_be_are_refused(model, manual, tmp_path, settings, said):
    with pytest.raises(LensError, match=said):
        fitted(model, tmp_path / "lens", manual, **settings)


def test_an_unknown_method_is_refused(model, manual, tmp_path):
    with pytest.raises(LensError, match="No lens is fitted by 'logit'; expected one of ridge"):
        lw.fit_lens(model, "logit", tmp_path / "lens", manual)


def test_layers_are_chosen_as_python_counts(model, manual, tmp_path):
    assert card_of(fitted(model, tmp_path / "lens", manual, layers="-1, 0:2")).layers == (0, 1, 3)


def test_nothing_is_written_over(model, manual, tmp_path):
    fitted(model, tmp_path / "lens", manual)
    before = files(tmp_path / "lens")
    with pytest.raises(LensError, match=r"There is something in .* already"):
        fitted(model, tmp_path / "lens", manual)
    assert files(tmp_path / "lens") == before
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(LensError, match="There is something in"):
        fitted(model, file, manual)


def test_what_is_in_the_way_is_told_before_any_text_is_written(model, tmp_path):
    (tmp_path / "lens").mkdir()
    (tmp_path / "lens" / "file").write_text("mine")
    told = []
    for out in (tmp_path / "lens", tmp_path / "lens" / "file"):
        with pytest.raises(LensError, match="There is something in"):
            lw.fit_lens(model, "ridge", out, count=48, length=16, progress=lambda *each: told.append(each))
    assert told == []


def test_a_number_too_large_for_float16_is_kept_in_float32(model, manual, tmp_path, monkeypatch):
    usual = RidgeEstimator.translators

    def large(self):
        found = usual(self)
        found[1].tensors["bias"][0] = 1e5
        return found

    monkeypatch.setattr(RidgeEstimator, "translators", large)
    lens = fitted(model, tmp_path / "lens", manual)
    assert lens.translators[1].tensors["bias"][0] == 1e5


def test_sums_are_read_only_of_their_own_schema(tmp_path):
    with pytest.raises(LensError, match="holds no sums of a fit"):
        sums_folder.read_state(tmp_path)
