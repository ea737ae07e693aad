import gc
import shutil
import weakref
from dataclasses import replace

import pytest
import torch

import layerwise as lw
from layerwise.errors import LensError, LensWarning, PromptError
from layerwise.lenses import own
from layerwise.lenses.fitted import FittedLens
from layerwise.lenses.folder import save_lens
from layerwise.lenses.opening import open_lens
from layerwise.lenses.reading import read_any
from layerwise.readout.lenses import LogitLens, RawLens
from tests.lenses import card_for, random_translators, saved_lens

PROMPT = "The capital of Germany is"


def test_lenses_that_need_no_fitting_are_had_by_name(tiny):
    assert isinstance(open_lens("logit", tiny._loaded), LogitLens)
    assert isinstance(open_lens("raw", tiny._loaded), RawLens)
    with pytest.raises(PromptError, match="Unknown lens 'crystal'"):
        open_lens("crystal", tiny._loaded)


def test_a_lens_in_a_folder_is_known_by_its_last_part_and_its_sum(tiny, tmp_path):
    folder = saved_lens(tmp_path / "my lens", tiny)
    lens = open_lens(f"ridge:{folder}", tiny._loaded)
    assert lens.spec.name == "ridge:my_lens"
    assert lens.spec.key == {"name": "ridge:my_lens", "sum": read_any(folder)[0].tensors_sum}
    assert lens.spec.notes == ()


def test_it_is_read_once_for_a_model_and_again_when_it_was_fitted_again(tiny, tmp_path, monkeypatch):
    reads = []
    monkeypatch.setattr("layerwise.lenses.opening.read_any", lambda place: reads.append(place) or read_any(place))
    folder = saved_lens(tmp_path / "lens", tiny)
    first = open_lens(f"ridge:{folder}", tiny._loaded)
    assert open_lens(f"ridge:{folder}", tiny._loaded) is first
    assert len(reads) == 1
    shutil.rmtree(folder)
    saved_lens(folder, tiny, seed=5)
    assert open_lens(f"ridge:{folder}", tiny._loaded).spec.sum != first.spec.sum


def test_what_was_opened_goes_with_the_model(fresh, tmp_path):
    model = fresh()
    lens = weakref.ref(open_lens(f"ridge:{saved_lens(tmp_path / 'lens', model)}", model._loaded))
    assert lens() is not None
    del model
    gc.collect()
    assert lens() is None


def test_a_kind_alone_means_the_models_own_lens(tiny, monkeypatch):
    monkeypatch.setattr("layerwise.lenses.own.model_folder", lambda name: "this")
    with pytest.raises(LensError, match=r"no ridge lens of .*layerwise lens fit --model .* --method ridge --out DIR"):
        open_lens("ridge", tiny._loaded)
    saved_lens(own.fitted_here() / "this" / "ridge", tiny)
    assert open_lens("ridge", tiny._loaded).spec.name == "ridge"


@pytest.mark.parametrize("place", ["nowhere", "empty", "file.txt"])
def test_where_there_is_no_lens_that_is_said(tiny, tmp_path, place):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("no lens")
    with pytest.raises(LensError, match=place):
        open_lens(f"ridge:{tmp_path / place}", tiny._loaded)


def test_another_kind_than_asked_for_is_refused(tiny, tmp_path):
    folder = saved_lens(tmp_path / "lens", tiny, "tuned")
    with pytest.raises(LensError, match=r"holds a tuned lens, and a ridge lens was asked for.*ask for tuned:"):
        open_lens(f"ridge:{folder}", tiny._loaded)


def test_a_lens_of_another_unembedding_is_refused_with_both_sums(tiny, tmp_path):
    card = card_for(tiny)
    folder = tmp_path / "lens"
    save_lens(folder, replace(card, unembedding_sum="f" * 64), random_translators(4, 64))
    both = rf"with the unembedding ffffffffffffffff….* has {str(card.unembedding_sum)[:16]}….*Fit one for this model"
    for lens in (f"ridge:{folder}", lw.load_lens(folder)):
        with pytest.raises(LensError, match=both):
            tiny.trace(PROMPT, lens=lens)


@pytest.mark.parametrize(
    ("changes", "count", "width", "said"),
    [
        ({"d_model": 32}, 4, 32, r"4 blocks of width 32; .* has 4 of width 64"),
        ({"n_layers": 3}, 3, 64, r"3 blocks of width 64; .* has 4"),
        ({"n_layers": 9}, 4, 64, r"9 blocks of width 64; .* has 4"),
        ({"n_layers": None}, 6, 64, r"at least 6 blocks of width 64; .* has 4"),
    ],
)
def test_a_lens_of_another_shape_is_refused(tiny, tmp_path, changes, count, width, said):
    save_lens(tmp_path / "lens", replace(card_for(tiny), **changes), random_translators(count, width))
    with pytest.raises(LensError, match=said):
        open_lens(f"ridge:{tmp_path / 'lens'}", tiny._loaded)


def test_the_same_head_on_other_weights_is_noted(tiny, tmp_path):
    save_lens(tmp_path / "lens", replace(card_for(tiny), weights_sum="a" * 64), random_translators(4, 64))
    with pytest.warns(LensWarning, match=r"weights with the sum aaaaaaaaaaaa….*with the same unembedding"):
        trace = tiny.trace(PROMPT, lens=f"ridge:{tmp_path / 'lens'}")
    assert len(trace.notes) == 1


def test_layers_that_are_missing_are_noted(tiny, tmp_path):
    translators = random_translators(4, 64)
    del translators[0], translators[2]
    save_lens(tmp_path / "lens", card_for(tiny), translators)
    said = r"The ridge:lens lens has no translator for layers 0 and 2 of 4, which are read as the logit lens reads them"
    with pytest.warns(LensWarning, match=said):
        trace = tiny.trace(PROMPT, lens=f"ridge:{tmp_path / 'lens'}")
    logit = tiny.trace(PROMPT)
    assert (trace.top_ids[[0, 2]] == logit.top_ids[[0, 2]]).all()
    assert not (trace.entropy_bits[[1, 3]] == logit.entropy_bits[[1, 3]]).any()


def test_a_loaded_lens_is_read_through_and_has_its_card(tiny, tmp_path):
    folder = saved_lens(tmp_path / "lens", tiny)
    lens = lw.load_lens(folder)
    assert lens.card is not None
    assert lens.card.estimator == {"shrinkage": 0.5}
    assert tiny.trace(PROMPT, lens=lens) == tiny.trace(PROMPT, lens=f"ridge:{folder}")
    assert open_lens(lens, tiny._loaded) is open_lens(lens, tiny._loaded)


def test_two_lenses_of_one_shown_name_are_refused(tiny, tmp_path):
    one, other = (saved_lens(tmp_path / str(seed) / "lens", tiny, seed=seed) for seed in (1, 2))
    with pytest.raises(PromptError, match=r"both be called 'ridge:lens'"):
        tiny.trace_all([lw.Request(PROMPT)], lenses=[f"ridge:{one}", f"ridge:{other}"])
    same = tiny.trace_all([lw.Request(PROMPT)], lenses=[f"ridge:{one}", f"ridge:{one}"])
    assert same[0][0] == same[0][1]


def test_a_trace_keeps_the_lens_and_its_last_layer_is_the_output(family, tmp_path):
    folder = saved_lens(tmp_path / "lens", family)
    [[logit, ridge]] = family.trace_all([lw.Request(PROMPT)], lenses=["logit", f"ridge:{folder}"])
    assert ridge.lens == "ridge:lens"
    assert (ridge.top_ids[-1] == logit.top_ids[-1]).all()
    assert abs(ridge.kl_from_final_bits[-1]).max() < 1e-4
    assert ridge.output == logit.output
    ridge.save(tmp_path / "trace.json")
    assert lw.Trace.open(tmp_path / "trace.json") == ridge


def test_layers_are_told_early_through_their_own_translators(tiny, tmp_path):
    folder, told = saved_lens(tmp_path / "lens", tiny), []
    trace = tiny.trace(PROMPT, lens=f"ridge:{folder}", on_layer=told.append)
    assert [read.layer for read in told] == [0, 1, 2, 3, 4]
    for read in told:
        assert [token.id for token in read.top[0]] == trace.top_ids[read.layer, 0].tolist()


def test_a_lens_that_was_just_fitted_is_read_through_as_it_is(tiny):
    translators = random_translators(4, 64)
    trace = tiny.trace(PROMPT, lens=FittedLens(card_for(tiny).spec("ridge"), translators))
    assert trace.lens == "ridge"
    assert torch.is_tensor(translators[0].matrix)
