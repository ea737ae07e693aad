import json

import pytest
import torch
from torch import nn

import layerwise as lw
from layerwise.errors import LensError, LensWarning
from layerwise.lenses.published.tuned import read_tuned

PROMPT = "The capital of Germany is"
WIDTH, LAYERS = 64, 4


class TunedLens(nn.Module):
    """tuned-lens 0.2.0's lens, as far as its files and numbers go."""

    def __init__(self, unembed, bias=True):
        super().__init__()
        torch.manual_seed(0)
        self.unembed = unembed
        self.layer_translators = nn.ModuleList([nn.Linear(WIDTH, WIDTH, bias=bias) for _ in range(LAYERS)])

    def forward(self, h, idx):
        return self.unembed(h + self.layer_translators[idx](h))

    def save(self, folder, **config):
        folder.mkdir(exist_ok=True)
        torch.save(self.layer_translators.state_dict(), folder / "params.pt")
        held = {"base_model_name_or_path": "ours/tiny", "d_model": WIDTH, "num_hidden_layers": LAYERS, "bias": True}
        held |= {"base_model_revision": None, "unembed_hash": "0" * 64, "lens_type": "linear_tuned_lens"} | config
        (folder / "config.json").write_text(json.dumps(held))
        return folder


@pytest.fixture
def theirs(tiny):
    hf = tiny._loaded.hf
    return TunedLens(lambda h: hf.lm_head(hf.model.norm(h)))


def test_index_l_is_our_layer_l_and_translators_are_changes(tiny, theirs, tmp_path, oracle):
    """As the library trains and reads it: index l is given `hidden_states[l]`, the state that enters block l."""
    folder = theirs.save(tmp_path / "lens")
    with pytest.warns(LensWarning, match="does not say which weights"):
        trace = tiny.trace(PROMPT, lens=f"tuned:{folder}")
    ids = oracle(tiny).encode(PROMPT)
    with torch.no_grad():
        states = tiny._loaded.hf(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
        for layer in range(LAYERS):
            logprobs = theirs(states[layer][0, -1], layer).log_softmax(-1)
            top = logprobs.topk(5)
            assert top.indices.tolist() == trace.top_ids[layer, 0].tolist()
            assert abs(top.values.numpy() - trace.top_logprobs[layer, 0]).max() < 1e-4


def test_the_card_tells_what_the_folder_says(theirs, tmp_path):
    card = lw.load_lens(theirs.save(tmp_path / "lens", base_model_revision="abc")).card
    assert card is not None
    assert (card.method, card.format, card.model) == ("tuned", "tuned-lens", "ours/tiny")
    assert (card.layers, card.n_layers, card.d_model) == ((0, 1, 2, 3), 4, WIDTH)
    assert card.estimator == {"model_revision": "abc"}


def test_a_lens_without_biases_is_read(tmp_path):
    _, translators = read_tuned(TunedLens(nn.Identity(), bias=False).save(tmp_path / "lens"))
    assert all(translator.bias is None for translator in translators.values())


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"lens_type": "cubic"}, "lens_type is 'cubic'"),
        ({"d_model": "64"}, "d_model is '64'"),
        ({"d_model": 32}, r"0\.weight is torch\.float32 \[64, 64\]; expected floats of \[32, 32\]"),
        ({"num_hidden_layers": 5}, r"has weights of 4 layers, and config\.json beside it says 5"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True"),
    ],
)
def test_a_config_that_is_not_the_weights_is_refused(theirs, tmp_path, config, said):
    with pytest.raises(LensError, match=said):
        read_tuned(theirs.save(tmp_path / "lens", **config))


class RunsCode:
    def __reduce__(self):
        return print, ("this must never be printed",)


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({"0.weight": RunsCode()}, "refused unopened"),
        ({"0.extra": torch.eye(WIDTH)}, r"a tuned lens has no '0\.extra'"),
        ({"0.bias": torch.zeros(WIDTH)}, "has weights of 1 layers"),
        ({"0.weight": torch.full((WIDTH, WIDTH), float("inf"))}, "holds NaN or infinite"),
    ],
)
def test_other_parameters_are_refused(theirs, tmp_path, capsys, held, said):
    folder = theirs.save(tmp_path / "lens")
    torch.save(held, folder / "params.pt")
    with pytest.raises(LensError, match=said):
        read_tuned(folder)
    assert capsys.readouterr().out == ""
