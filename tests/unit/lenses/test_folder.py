import errno
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from layerwise.errors import LensError, StoreError
from layerwise.files import sha256_of
from layerwise.lenses.fitted import LowRankTranslator, Translator
from layerwise.lenses.folder import CARD, TENSORS, read_card, read_lens, save_lens
from tests.lenses import card_for, low_rank_translators, random_translators, saved_lens


@pytest.fixture
def folder(tiny, tmp_path):
    return saved_lens(tmp_path / "lens", tiny)


def change_card(folder: Path, **changes):
    told = json.loads((folder / CARD).read_text()) | changes
    (folder / CARD).write_text(json.dumps({key: value for key, value in told.items() if value != "gone"}))


def change_tensors(folder: Path, change):
    """Write other tensors, with a card that has their sum."""
    tensors = load_file(folder / TENSORS)
    change(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / TENSORS)
    change_card(folder, tensors_sum=sha256_of(folder / TENSORS))


def test_what_was_saved_is_read_back(tiny, tmp_path):
    translators = random_translators(4, 64)
    card = save_lens(tmp_path / "lens", card_for(tiny), translators, "float32")
    assert card.layers == (0, 1, 2, 3)
    assert card.tensors_sum == sha256_of(tmp_path / "lens" / TENSORS)
    read, found = read_lens(tmp_path / "lens")
    assert read == card == read_card(tmp_path / "lens")
    for layer, translator in translators.items():
        assert torch.equal(found[layer].tensors["matrix"], translator.matrix)
        assert torch.equal(found[layer].tensors["bias"], translator.tensors["bias"])


def test_the_file_is_one_that_safetensors_reads(tiny, folder):
    tensors = load_file(folder / TENSORS)
    assert sorted(tensors) == sorted(f"layer.{layer}.{part}" for layer in range(4) for part in ("matrix", "bias"))
    assert torch.equal(tensors["layer.3.matrix"], random_translators(4, 64)[3].matrix)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_takes_half_the_room(tiny, tmp_path, dtype):
    translators = {0: Translator(torch.randn(64, 64))}
    save_lens(tmp_path / "half", card_for(tiny), translators, dtype)
    [found] = read_lens(tmp_path / "half")[1].values()
    assert isinstance(found, Translator)
    assert found.bias is None
    assert torch.equal(found.matrix, translators[0].matrix.to(getattr(torch, dtype)))
    assert (tmp_path / "half" / TENSORS).stat().st_size < 2 * 64 * 64 + 200


def test_low_rank_is_the_identity_and_a_thin_product(tiny, tmp_path):
    translators = low_rank_translators(4, 64)
    save_lens(tmp_path / "thin", card_for(tiny), translators, "float32")
    found = read_lens(tmp_path / "thin")[1][2]
    assert isinstance(found, LowRankTranslator)
    states = torch.randn(5, 64)
    whole = torch.eye(64) + translators[2].left @ translators[2].right
    assert torch.allclose(found.apply(states), states @ whole.T, atol=1e-5)


def test_a_lens_replaces_a_lens(tiny, folder):
    before = read_card(folder)
    after = save_lens(folder, card_for(tiny), random_translators(4, 64, seed=9))
    assert read_card(folder) == after != before


def test_a_folder_with_something_else_in_it_is_left_alone(tiny, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StoreError, match=r"holds 'thesis\.tex', which is no part of a lens and would be lost"):
        save_lens(tmp_path, card_for(tiny), random_translators(4, 64))
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_full_disk_loses_nothing(tiny, folder, monkeypatch):
    before = read_card(folder)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("layerwise.lenses.folder._write_tensors", full)
    with pytest.raises(StoreError, match=r"No space left on device\. What was there before is as it was"):
        save_lens(folder, card_for(tiny), random_translators(4, 64, seed=9))
    assert read_card(folder) == before
    assert [each.name for each in folder.parent.iterdir() if each.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("value", "dtype", "said"), [(float("nan"), "float32", "NaN or inf"), (1e6, "float16", "too large for it.*float32")]
)
def test_numbers_that_cannot_be_stored_are_not(tiny, tmp_path, value, dtype, said):
    translators = {1: Translator(torch.full((64, 64), value))}
    with pytest.raises(LensError, match=said):
        save_lens(tmp_path / "lens", card_for(tiny), translators, dtype)
    assert not (tmp_path / "lens").exists()


def test_a_card_is_read_without_pytorch(folder):
    code = (
        "import sys; from pathlib import Path; from layerwise.lenses.folder import read_card; "
        f"print(read_card(Path({str(folder)!r})).method, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ridge", "False"]


def test_a_file_that_was_cut_short_is_refused(folder):
    whole = (folder / TENSORS).read_bytes()
    (folder / TENSORS).write_bytes(whole[:-100])
    with pytest.raises(LensError, match=r"translators\.safetensors is not a whole safetensors file.*Fit it again"):
        read_card(folder)


def test_numbers_of_another_fit_are_refused(folder):
    whole = bytearray((folder / TENSORS).read_bytes())
    whole[-1] ^= 1
    (folder / TENSORS).write_bytes(whole)
    with pytest.raises(LensError, match=r"has the sum [0-9a-f]{12}….*were changed, or come from another fit"):
        read_card(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(folder, value):
    change_tensors(folder, lambda tensors: tensors["layer.2.matrix"][3].fill_(value))
    with pytest.raises(LensError, match=r"layer\.2\.matrix holds NaN or infinite"):
        read_lens(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.update({"layer.1.matrix": torch.eye(32)}), r"layer\.1\.matrix is float32 \[32, 32\].*\[64, 64\]"),
        (lambda t: t.update({"layer.1.bias": torch.zeros(1)}), r"layer\.1\.bias is float32 \[1\]; expected a float"),
        (lambda t: t.update({"layer.1.matrix": torch.eye(64).long()}), r"layer\.1\.matrix is int64"),
        (lambda t: [t.pop("layer.1.matrix"), t.pop("layer.1.bias")], r"differ in the layers 1:"),
        (lambda t: t.pop("layer.1.matrix"), r"layer 1 has bias; expected a matrix, or left and right"),
        (lambda t: t.update({"layer.1.left": torch.zeros(64, 2)}), r"layer 1 has bias and left and matrix;"),
        (lambda t: t.update({"layer.9.matrix": torch.eye(64)}), r"differ in the layers 9:"),
        (lambda t: t.update({"layer.01.matrix": torch.eye(64)}), r"no tensor 'layer\.01\.matrix'"),
        (lambda t: t.update({"other": torch.eye(64)}), r"no tensor 'other'"),
        (
            lambda t: [
                t.pop("layer.1.matrix"),
                t.update({"layer.1.left": torch.zeros(3, 3), "layer.1.right": torch.zeros(3, 3)}),
            ],
            r"layer\.1\.left is float32 \[3, 3\]; expected a float of \[64, 3\]",
        ),
    ],
)
def test_tensors_that_are_not_the_cards_are_refused(folder, change, said):
    change_tensors(folder, change)
    with pytest.raises(LensError, match=said):
        read_card(folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema": 2}, r"is of schema 2, and this version of layerwise reads schema 1\. Update"),
        ({"schema": "gone"}, r"is of schema None"),
        ({"method": "crystal"}, r"method: expected one of ridge, tuned, jacobian, r; got 'crystal'"),
        ({"method": "gone"}, r"no card of a lens: method"),
        ({"d_model": "64"}, r"no card of a lens: d_model"),
        ({"d_model": 0}, r"expected at least 1"),
        ({"layers": [3, 1]}, r"layers: expected some, each once and in order"),
        ({"layers": []}, r"layers: expected some"),
        ({"layers": [0, 1, 2, 4]}, r"layers: expected less than n_layers \(4\); got 4"),
        ({"tensors_sum": "abc"}, r"expected 64 hexadecimal digits"),
        ({"held_out": {"kl": float("nan")}}, r"not JSON"),
    ],
)
def test_a_card_with_wrong_parts_is_refused(folder, changes, said):
    change_card(folder, **changes)
    with pytest.raises(LensError, match=said):
        read_card(folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[1]", "holds a list, and a card is a JSON object"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON in UTF-8"),
        (b"[" * 200_000, "not JSON in UTF-8, or too deep"),
        (b'{"a": ' * 200_000, "not JSON in UTF-8, or too deep"),
        (b" " * (5 << 20), "more than 4,194,304 bytes"),
    ],
)
def test_json_that_is_no_card_is_refused(folder, text, said):
    (folder / CARD).write_bytes(text)
    with pytest.raises(LensError, match=said):
        read_card(folder)


def test_what_a_later_version_adds_to_a_card_is_no_reason_to_refuse_it(folder):
    change_card(folder, colour="blue")
    assert read_card(folder).method == "ridge"


def test_a_folder_without_a_lens_says_so(tmp_path):
    with pytest.raises(LensError, match=r"lens\.json cannot be read: No such file"):
        read_card(tmp_path)


def test_a_card_may_not_know_the_model(tiny, tmp_path):
    card = replace(card_for(tiny), model=None, unembedding_sum=None, weights_sum=None)
    saved = save_lens(tmp_path / "lens", card, random_translators(4, 64))
    assert read_card(tmp_path / "lens") == saved
