import pickle

import pytest
import torch

import layerwise as lw
from layerwise.errors import LensError, LensWarning, StoreError
from layerwise.files import sha256_of
from layerwise.lenses.fitted import Translator
from layerwise.lenses.published.jacobian import read_jacobian, save_jacobian_artefact
from tests.lenses import card_for, low_rank_translators, random_translators, saved_lens

PROMPT = "The capital of Germany is"
WIDTH = 64


def artefact(**changes):
    """Return what `jlens` saves of a model of four blocks: nothing but its four keys."""
    draw = torch.Generator().manual_seed(0)
    matrices = {block: torch.randn(WIDTH, WIDTH, generator=draw).half() for block in range(3)}
    held = {"J": matrices, "n_prompts": 7, "source_layers": [0, 1, 2], "d_model": WIDTH}
    return {key: value for key, value in (held | changes).items() if value is not None}


def checkpoint(**changes):
    """Return what its fit keeps while it runs."""
    sums = {block: 4 * torch.eye(WIDTH) * (block + 1) for block in range(3)}
    held = {"jacobian_sum": sums, "n_done": 4, "next_idx": 4, "source_layers": [0, 1, 2], "target_layer": 3}
    return {key: value for key, value in (held | {"skip_first": 16} | changes).items() if value is not None}


@pytest.fixture
def saved(tmp_path):
    def save(held, **how):
        torch.save(held, tmp_path / "lens.pt", **how)
        return tmp_path / "lens.pt"

    return save


def test_index_l_is_our_layer_l_plus_1(saved):
    held = artefact()
    path = saved(held)
    card, translators = read_jacobian(path)
    assert card.layers == (1, 2, 3) == tuple(translators)
    for block, matrix in held["J"].items():
        assert torch.equal(translators[block + 1].matrix, matrix)
    assert (card.method, card.format, card.n_layers, card.d_model) == ("jacobian", "jlens", 4, WIDTH)
    assert card.tensors_sum == sha256_of(path)
    assert card.unembedding_sum is None
    assert card.text["windows"] == 7


def test_a_checkpoints_sums_are_divided_by_its_count(saved):
    card, translators = read_jacobian(saved(checkpoint()))
    assert torch.equal(translators[3].matrix, 3 * torch.eye(WIDTH))
    assert card.estimator == {"skip_first": 16}
    assert card.n_layers == 4


def test_files_of_before_zip_archives_are_read_too(saved):
    assert read_jacobian(saved(artefact(), _use_new_zipfile_serialization=False))[0].layers == (1, 2, 3)


def test_what_transformerlens_notes_is_kept(saved):
    metadata = {"estimator": "jacobian_lens", "model_name": "gpt2", "target_layer": 3, "transformer_lens_fit": True}
    card, _ = read_jacobian(saved(artefact(metadata=metadata | {"corpus": "wikitext", "skip_first_positions": 16})))
    assert (card.format, card.model, card.text["corpus"]) == ("TransformerLens", "gpt2", "wikitext")
    assert card.estimator == {"skip_first_positions": 16}


def test_it_is_read_through_with_what_is_not_known_said(tiny, saved):
    with pytest.warns(LensWarning) as told:
        trace = tiny.trace(PROMPT, lens=f"jacobian:{saved(artefact())}")
    assert trace.lens == "jacobian:lens.pt"
    assert [str(each.message) for each in told] == list(trace.notes)
    assert "does not say which weights it was fitted for" in trace.notes[0]
    assert "no translator for layer 0 of 4, which is read as the logit lens reads it" in trace.notes[1]


class RunsCode:
    def __reduce__(self):
        return print, ("this must never be printed",)


@pytest.mark.parametrize("how", [{}, {"_use_new_zipfile_serialization": False}])
def test_code_is_refused_unopened(saved, capsys, how):
    path = saved(artefact(metadata={"note": RunsCode()}), **how)
    with pytest.raises(LensError, match=r"lens\.pt is refused unopened: .* could run any code"):
        read_jacobian(path)
    assert capsys.readouterr().out == ""


def test_a_bare_pickle_is_refused_unopened(tmp_path, capsys):
    (tmp_path / "lens.pt").write_bytes(pickle.dumps(RunsCode()))
    with pytest.raises(LensError, match="refused unopened"):
        read_jacobian(tmp_path / "lens.pt")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ([1], "holds a list, and a published lens is a dictionary"),
        ({}, "it has nothing"),
        ({"weights": 1}, r"expected a dictionary J of matrices by block.*it has weights"),
        (artefact(J={}), "expected a dictionary J"),
        (artefact(J={0: torch.eye(WIDTH), 1: torch.eye(3)}, source_layers=None), r"block 1 is torch\.float32 \[3, 3\]"),
        (artefact(J={0: torch.eye(WIDTH).long()}, source_layers=None), r"block 0 is torch\.int64"),
        (artefact(J={0: 5}, source_layers=None), "expected a matrix for every block"),
        (artefact(J={"x": torch.eye(WIDTH)}), r"a block's index is 'x'"),
        (artefact(J={0: torch.full((WIDTH, WIDTH), float("nan"))}, source_layers=None), "block 0 holds NaN"),
        (artefact(d_model=32), r"expected floats of \[32, 32\]"),
        (artefact(d_model="wide"), "d_model is 'wide'"),
        (artefact(source_layers=[0, 1]), "source_layers are not the layers"),
        (
            artefact(metadata={"estimator": "q_lens"}),
            r"fitted by 'q_lens', which this version .* jacobian_lens, r_lens",
        ),
        (artefact(metadata={"target_layer": 2}), "a matrix of block 2, and its target is block 2"),
        (checkpoint(n_done=0), r"n_done is 0; expected a whole number of at least 1"),
        (checkpoint(n_done=None), "n_done is None"),
    ],
)
def test_other_files_are_refused(saved, held, said):
    with pytest.raises(LensError, match=said):
        read_jacobian(saved(held))


def test_a_file_that_was_cut_short_is_refused(saved):
    path = saved(artefact())
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(LensError, match="is no whole file of"):
        read_jacobian(path)


def test_a_target_before_the_last_block_is_refused(tiny, saved):
    path = saved(checkpoint(jacobian_sum={0: torch.eye(WIDTH)}, source_layers=[0], target_layer=2))
    with pytest.raises(LensError, match=r"3 blocks of width 64; .* has 4 .*leads to a block before the last"):
        tiny.trace(PROMPT, lens=f"jacobian:{path}")


def test_some_layers_alone_do_not_say_how_many_the_model_has(tiny, saved):
    path = saved(artefact(J={1: torch.eye(WIDTH)}, source_layers=[1]))
    assert read_jacobian(path)[0].n_layers is None
    with pytest.warns(LensWarning, match="does not say|layers 0, 1 and 3 of 4"):
        tiny.trace(PROMPT, lens=f"jacobian:{path}")


def test_what_is_written_is_read_back_and_known_to_be_of_this_model(tiny, tmp_path):
    lens = lw.load_lens(saved_lens(tmp_path / "lens", tiny, "r"))
    without_bias = {layer: Translator(each.tensors["matrix"]) for layer, each in lens.translators.items()}
    save_jacobian_artefact(tmp_path / "r.pt", card_for(tiny, "r"), without_bias, "float32")
    card, translators = read_jacobian(tmp_path / "r.pt")
    assert (card.method, card.n_layers, card.layers) == ("r", 4, (1, 2, 3))
    assert card.unembedding_sum == card_for(tiny).unembedding_sum
    assert torch.equal(translators[2].matrix, without_bias[2].matrix)
    with pytest.warns(LensWarning) as told:
        tiny.trace(PROMPT, lens=f"r:{tmp_path / 'r.pt'}")
    assert len(told) == 1, "that layer 0 is missing, and no more"


def test_a_low_rank_is_written_as_the_matrix_that_it_stands_for(tiny, tmp_path):
    thin = low_rank_translators(4, WIDTH)
    save_jacobian_artefact(tmp_path / "j.pt", card_for(tiny, "jacobian"), thin, "float32")
    expected = torch.eye(WIDTH) + thin[1].left @ thin[1].right
    assert torch.allclose(read_jacobian(tmp_path / "j.pt")[1][1].matrix, expected)


@pytest.mark.parametrize(
    ("method", "translators", "said"),
    [
        ("ridge", {1: Translator(torch.eye(WIDTH))}, "A ridge lens has no place in a file of Jacobian lenses"),
        ("jacobian", random_translators(2, WIDTH), "A jacobian lens with a bias has no place"),
        ("jacobian", {1: Translator(torch.eye(WIDTH) * 1e6)}, r"layer 1 holds numbers that float16 has not"),
    ],
)
def test_what_has_no_place_in_such_a_file_is_not_written(tiny, tmp_path, method, translators, said):
    with pytest.raises(LensError, match=said):
        save_jacobian_artefact(tmp_path / "lens.pt", card_for(tiny, method), translators)
    assert not (tmp_path / "lens.pt").exists()


def test_a_full_disk_leaves_nothing(tiny, tmp_path, monkeypatch):
    def full(*_):
        raise RuntimeError("[enforce fail] unexpected pos 64 vs 0")

    monkeypatch.setattr("layerwise.lenses.published.jacobian.torch.save", full)
    with pytest.raises(StoreError, match="could not be written"):
        save_jacobian_artefact(tmp_path / "j.pt", card_for(tiny, "jacobian"), {1: Translator(torch.eye(WIDTH))})
    assert not list(tmp_path.glob("*.pt"))
