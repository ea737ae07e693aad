import subprocess
import sys

import pytest

from layerwise.errors import StudyError
from layerwise.lenses.folder import save_lens
from layerwise.lenses.own import fitted_here
from layerwise.studies.study import plan_study
from tests.lenses import card_for, random_translators, saved_lens

QUESTION = {"id": "q", "prompt": "The capital of Germany is"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path / "cache"))


def planned(folder, *lenses, models=("smollm2-135m",)):
    data = {"name": "s", "title": "S", "models": [*models], "questions": [QUESTION], "lenses": [*lenses]}
    return plan_study(data, "study.toml", folder)


def test_a_path_is_relative_to_the_study_and_its_folders_are_not_in_the_run(tiny, tmp_path):
    folder = saved_lens(tmp_path / "lenses" / "mine", tiny)
    study = planned(tmp_path, "logit", "ridge:lenses/mine")
    assert study.study.lenses == ["logit", "ridge:mine"]
    assert study.lenses.asked == {"ridge:mine": f"ridge:{folder}"}


def test_without_fitted_lenses_a_study_has_the_sum_that_it_had(tmp_path):
    assert planned(tmp_path, "logit", "raw").lenses.sums == {}


def test_a_study_is_another_with_another_lens_and_the_same_wherever_it_lies(tiny, tmp_path):
    sums = []
    for place, seed in (("a", 0), ("b", 0), ("c", 1)):
        saved_lens(tmp_path / place / "lens", tiny, seed=seed)
        sums.append(planned(tmp_path / place, "ridge:lens").sum)
    assert sums[0] == sums[1] != sums[2]


def test_no_pytorch_is_needed(tiny, tmp_path):
    saved_lens(tmp_path / "lens", tiny)
    (tmp_path / "study.toml").write_text(
        'name = "s"\ntitle = "S"\nmodels = ["smollm2-135m"]\nlenses = ["ridge:lens"]\n'
        '[[questions]]\nid = "q"\nprompt = "P"\n'
    )
    code = (
        "import sys; from pathlib import Path; from layerwise.studies.study import read_study; "
        f"print(*read_study(Path({str(tmp_path / 'study.toml')!r})).study.lenses, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ridge:lens", "False"]


def test_what_cannot_be_read_through_stops_before_the_run(tiny, tmp_path):
    saved_lens(tmp_path / "lens", tiny)
    saved_lens(tmp_path / "damaged", tiny)
    (tmp_path / "damaged" / "translators.safetensors").write_bytes(b"short")
    without = random_translators(4, 64)
    del without[0], without[2]
    save_lens(tmp_path / "holes", card_for(tiny), without)
    saved_lens(tmp_path / "other" / "lens", tiny, seed=2)
    for lenses, said in (
        (["ridge:nowhere"], r"study\.toml: lenses: There is no file or folder 'nowhere'.*Nothing was run"),
        (["ridge:damaged"], "not a whole safetensors file"),
        (["ridge:holes"], r"no translator for layer 2 of 4.*Fit all layers"),
        (["tuned:lens"], "holds a ridge lens, and a tuned lens was asked for"),
        (["ridge:lens", "ridge:other/lens"], "both be called 'ridge:lens'"),
        (["ridge:lens", "ridge:./lens"], "two names stand for the same lens"),
        (["ridge"], r"no ridge lens of smollm2-135m on this machine.*layerwise lens fit --model smollm2-135m"),
        (["crystal"], r"lenses\[0\]: Unknown lens 'crystal'"),
    ):
        with pytest.raises(StudyError, match=said):
            planned(tmp_path, *lenses)


def test_a_models_own_lens_has_to_be_there_for_every_model(tiny, tmp_path):
    saved_lens(fitted_here() / "smollm2-135m" / "ridge", tiny)
    assert planned(tmp_path, "ridge").study.lenses == ["ridge"]
    with pytest.raises(StudyError, match="no ridge lens of gemma-3-270m"):
        planned(tmp_path, "ridge", models=("smollm2-135m", "gemma-3-270m"))


def test_layer_0_may_be_missing(tiny, tmp_path):
    translators = random_translators(4, 64)
    del translators[0]
    save_lens(tmp_path / "lens", card_for(tiny), translators)
    assert planned(tmp_path, "ridge:lens").study.lenses == ["ridge:lens"]
