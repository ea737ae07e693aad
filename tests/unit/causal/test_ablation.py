"""Knockout: each cell is the same edit alone, and what hooks by hand on transformers' own modules give."""

import json

import numpy as np
import pytest
import torch
import transformers

import layerwise as lw
from benchmarks.tiny import always_streamed, byte_tokenizer, tiny_config, tiny_model
from layerwise.causal import outcomes
from layerwise.causal.ablation import ablate
from layerwise.errors import LayerwiseError, UnsupportedModelError

PROMPT, ANSWER, AGAINST = "The capital of Germany is", " Berlin", " Paris"
OVER = ("Two and two make four", "Once upon a time a king")

ASKED = [
    {"kinds": "mlp_out"},
    {"kinds": "resid_pre", "by": "mean", "over": OVER},
    {"kinds": "attn_out", "by": "resample", "over": OVER, "draws": 1, "window": 3},
    {"kinds": "z", "by": "resample", "over": OVER, "draws": 1, "seed": 4},
    {"kinds": "v", "by": "mean", "over": OVER},
    {"edges": ("subject:last", "first:rest"), "spans": {"subject": "Germany"}, "window": 2},
]


@pytest.fixture(scope="module")
def ids(tiny):
    """Ids of two answers of one token each."""
    return (30,), (41,)


def logprobs(trace, *tokens):
    found = dict(zip(trace.top_ids[-1, -1].tolist(), trace.top_logprobs[-1, -1].tolist(), strict=True))
    return [found[token] for (token,) in tokens]


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked.get("kinds", "edges"))
def test_a_cell_is_the_same_edit_alone(family, ids, asked):
    found = ablate(family, PROMPT, *ids, **asked)
    [grid] = found.grids
    assert len(grid.edits) == grid.change.size
    alone = family.trace(PROMPT, top_k=family.info.vocab_size)
    answer, against = logprobs(alone, *ids)
    assert found.unedited.answer_logprob == pytest.approx(answer, abs=1e-3)
    for (row, column), specs in [*grid.edits.items()][:: max(1, len(grid.edits) // 7)]:
        edited = logprobs(family.trace(PROMPT, edits=[*map(str, specs)], top_k=family.info.vocab_size), *ids)
        assert grid.values["answer_logprob"][row, column] == pytest.approx(edited[0], abs=2e-3)
        difference = edited[0] - edited[1]
        assert grid.values["logit_difference"][row, column] == pytest.approx(difference, abs=2e-3)
        assert grid.change[row, column] == pytest.approx(difference - (answer - against), abs=4e-3)
        wanted = np.expm1(edited[0] - answer)
        assert grid.values["probability_change"][row, column] == pytest.approx(wanted, rel=1e-2, abs=1e-3)


class Plain:
    """A model's own output under hooks by hand; nothing of layerwise."""

    def __init__(self, model):
        self.hf = model.hf
        self.ids = torch.tensor([model.tokenizer(PROMPT)["input_ids"]])
        self.layers = self.hf.model.layers

    @torch.no_grad()
    def logprob(self, token, *hooks):
        own = self.hf.config._attn_implementation
        self.hf.set_attn_implementation("eager")  # fused kernels get no mask, or one that is not added to
        try:
            logits = self.hf(input_ids=self.ids, use_cache=False).logits[0, -1].double()
        finally:
            for hook in hooks:
                hook.remove()
            self.hf.set_attn_implementation(own)
        return float(logits.log_softmax(-1)[token])

    def masked(self, block, query, keys):
        """Have a block's queries not see some keys, by its mask."""

        def hook(_module, _args, kwargs):
            mask = kwargs["attention_mask"].clone()
            for key in keys:
                mask[:, :, query, key] = -torch.inf
            return _args, kwargs | {"attention_mask": mask}

        return self.layers[block].self_attn.register_forward_pre_hook(hook, with_kwargs=True)


def test_edges_are_cut_as_a_mask_cuts_them(family):
    """All four families have two queries' heads for each key's; Mistral and Gemma 2 see four tokens back only."""
    plain = Plain(family)
    found = ablate(
        family,
        PROMPT,
        (30,),
        edges=["subject:last", "relation:subject"],
        window=3,
        spans={"subject": "Germany", "relation": "capital of"},
    )
    [grid] = found.grids
    assert found.unedited.answer_logprob == pytest.approx(plain.logprob(30), abs=1e-3)
    for column, edge in enumerate((("subject", "last"), ("relation", "subject"))):
        keys, queries = (found.spans[name] for name in edge)
        for row in range(family.n_layers):
            window = range(max(0, row - 1), min(family.n_layers, row + 2))
            hooks = [plain.masked(block, query, keys) for block in window for query in queries]
            wanted = plain.logprob(30, *hooks)
            assert grid.values["answer_logprob"][row, column] == pytest.approx(wanted, abs=2e-3)
    assert np.abs(grid.values["logprob_change"]).max() > 0.05


def test_a_placebo_is_the_mean_of_what_other_keys_bring(load_family):
    model = load_family("llama3")
    plain, [likeliest] = Plain(model), model.trace(PROMPT, top_k=1).top_ids[-1, -1].tolist()
    found = ablate(model, PROMPT, (likeliest,), edges="subject:last", spans={"subject": "Germany"}, window=1, draws=99)
    [grid] = found.grids
    last, [subject] = plain.ids.shape[1] - 1, found.spans["subject"]
    others = [key for key in range(1, last) if key != subject]
    own = plain.logprob(likeliest)
    assert grid.placebo is not None
    assert grid.placebo_spread is not None
    for row in range(model.n_layers):
        moved = [np.expm1(plain.logprob(likeliest, plain.masked(row, last, [key])) - own) for key in others]
        assert grid.placebo[row, 0] == pytest.approx(np.mean(moved), abs=2e-3)
        assert grid.placebo_spread[row, 0] == pytest.approx(np.std(moved, ddof=1), abs=2e-3)


@pytest.mark.parametrize("by", ["zero", "mean"])
@pytest.mark.parametrize("name", ["qwen3", "mistral", "gemma2"])
def test_components_are_taken_out_as_hooks_take_them_out(load_family, name, by):
    model = load_family(name)
    plain, hf = Plain(model), model.hf
    over = () if by == "zero" else OVER
    found = ablate(model, PROMPT, (30,), kinds=["mlp_out", "z"], by=by, over=over)
    width = hf.config.head_dim
    # Gemma 2 norms what the MLP gives before it is added.
    adds = [layer.post_feedforward_layernorm if name == "gemma2" else layer.mlp for layer in plain.layers]
    for block in range(model.n_layers):
        mean_out, mean_z = (_means(model, module, by) for module in (adds[block], plain.layers[block].self_attn.o_proj))
        for position in range(plain.ids.shape[1]):

            def out(_module, _args, output, at=position, mean=mean_out):
                output = output.clone()
                output[0, at] = mean
                return output

            wanted = plain.logprob(30, adds[block].register_forward_hook(out))
            assert found.grid("mlp_out").values["answer_logprob"][block, position] == pytest.approx(wanted, abs=2e-3)
        for head in range(hf.config.num_attention_heads):

            def into(_module, args, some=slice(head * width, (head + 1) * width), mean=mean_z):
                values = args[0].clone()
                values[..., some] = mean[some] if torch.is_tensor(mean) else mean
                return (values,)

            wanted = plain.logprob(30, plain.layers[block].self_attn.o_proj.register_forward_pre_hook(into))
            assert found.grid("z").values["answer_logprob"][block, head] == pytest.approx(wanted, abs=2e-3)


@torch.no_grad()
def _means(model, module, by):
    """Return the mean over other prompts but their first positions: of a projection's input, of all else's output."""
    if by == "zero":
        return 0.0
    seen = []
    is_projection = isinstance(module, torch.nn.Linear)
    hook = module.register_forward_hook(lambda _m, args, output: seen.append((args[0] if is_projection else output)[0]))
    for prompt in OVER:
        model.hf(input_ids=torch.tensor([model.tokenizer(prompt)["input_ids"]]), use_cache=False)
    hook.remove()
    return torch.cat([each[1:] for each in seen]).double().mean(0).float()


def test_draws_are_those_of_seeds_one_after_another(tiny, ids):
    asked = {"kinds": "mlp_out", "by": "resample", "over": OVER}
    alone = [ablate(tiny, PROMPT, *ids, **asked, draws=1, seed=seed).grids[0] for seed in (3, 4, 5)]
    together = ablate(tiny, PROMPT, *ids, **asked, draws=3, seed=3).grids[0]
    changes = np.stack([each.change for each in alone])
    assert np.allclose(together.change, changes.mean(axis=0), atol=2e-3)
    assert together.spread is not None
    assert np.allclose(together.spread, changes.std(axis=0, ddof=1), atol=2e-3)
    assert together.spread.max() > 0.1
    assert alone[0].spread is None


def test_how_many_run_together_changes_nothing_but_rounding(tiny, ids, monkeypatch):
    asked = {"kinds": ["mlp_out", "z"], "edges": "first:last"}
    whole = ablate(tiny, PROMPT, *ids, **asked)
    monkeypatch.setattr(outcomes, "_CELLS_BYTES", 3 * 5 * tiny.info.d_model * 4)
    monkeypatch.setattr(outcomes, "_ROWS_READ", 5)
    parts = ablate(tiny, PROMPT, *ids, **asked)
    for grid, part in zip(whole.grids, parts.grids, strict=True):
        for name, values in grid.values.items():
            assert np.allclose(values, part.values[name], rtol=1e-2, atol=2e-3), name
    mine, theirs = whole.grid("pattern").placebo, parts.grid("pattern").placebo
    assert mine is not None
    assert theirs is not None
    assert np.allclose(mine, theirs, rtol=1e-2, atol=2e-3)


def test_a_streamed_model_s_ablation_is_the_resident_one_s(family_folder, load_family):
    with always_streamed():
        streamed = lw.load(family_folder("gemma2"), device="cpu")
    asked = {"kinds": "z", "by": "mean", "over": OVER, "edges": "first:last"}
    found = [ablate(model, PROMPT, (30,), **asked) for model in (load_family("gemma2"), streamed)]
    for kind in ("z", "pattern"):
        assert np.allclose(found[0].grid(kind).change, found[1].grid(kind).change, rtol=1e-2, atol=1e-2)


def test_the_answer_s_tokens_before_the_deciding_one_are_part_of_the_prompt(tiny):
    found = ablate(tiny, PROMPT, (7, 30), (7, 41), kinds="mlp_out", edges="rest:last")
    assert [token.id for token in found.prompt] == [*tiny.tokenizer(PROMPT)["input_ids"], 7]
    assert (found.answer.id, found.against and found.against.id) == (30, 41)
    assert found.spans["last"] == (5,)
    assert found.spans["rest"] == (1, 2, 3, 4)
    assert found.grid("mlp_out").columns == (0, 1, 2, 3, 4, 5)
    assert "rest → last has no placebo" in found.notes[0]


def test_without_another_answer_the_effect_is_relative_to_the_answer_s_probability(tiny):
    found = ablate(tiny, PROMPT, (30,), kinds="mlp_out")
    [grid] = found.grids
    assert found.effect == "probability"
    assert np.array_equal(grid.change, grid.values["probability_change"])
    assert (grid.change >= -1).all()
    assert "logit_difference" not in grid.values
    assert np.allclose(grid.values["kl_from_unedited_bits"][-1, :-1], 0, atol=1e-4), "the last block's other positions"
    assert (grid.values["kl_from_unedited_bits"][:, -1] > 1e-3).all()


def test_without_kinds_it_is_attention_and_mlp(tiny, ids):
    assert [grid.kind for grid in ablate(tiny, PROMPT, *ids).grids] == ["attn_out", "mlp_out"]
    assert [grid.kind for grid in ablate(tiny, PROMPT, *ids, edges="first:last").grids] == ["pattern"]


def test_blocks_without_a_kind_have_no_row():
    config = tiny_config(transformers.Lfm2Config)
    model = lw.load(tiny_model(config), tokenizer=byte_tokenizer())
    [grid] = ablate(model, "ab cd", (30,), edges="first:last", window=3).grids
    assert grid.blocks == (1, 3)
    assert [str(each) for each in grid.edits[0, 0]] == [f"cut blocks.{block}.attn.hook_pattern@4" for block in (1, 3)]


def test_a_model_without_attention_has_nothing_to_cut_and_says_what_it_has():
    model = lw.load(tiny_model(tiny_config(transformers.MambaConfig)), tokenizer=byte_tokenizer())
    with pytest.raises(UnsupportedModelError, match=r"has no blocks\.0.attn.hook_pattern: .* has no attention"):
        ablate(model, "ab cd", (30,), edges="first:last")
    [grid] = ablate(model, "ab cd", (30,), kinds="resid_pre").grids
    assert grid.change[0, -1] != 0


def test_what_is_stored_is_json_and_what_is_shown_is_a_frame_and_figures(tiny, tmp_path):
    found = ablate(tiny, PROMPT, (30,), kinds=["mlp_out", "z"], edges=["first:last", "rest:last"])
    found.save(tmp_path / "found.json")
    stored = json.loads((tmp_path / "found.json").read_text())
    assert stored == json.loads(json.dumps(found.to_json()))
    assert stored["grids"][2]["edges"] == ["first → last", "rest → last"]
    assert stored["grids"][2]["placebo"][0][1] is None
    frame = found.to_frame()
    assert len(frame) == sum(grid.change.size for grid in found.grids)
    assert {"position", "token", "head", "edge", "change", "placebo", "answer_rank"} <= {*frame.columns}
    found.write_figures(tmp_path / "figures")
    assert {each.name for each in (tmp_path / "figures").glob("*.png")} == {"mlp_out.png", "z.png", "pattern.png"}
    with pytest.raises(LayerwiseError, match="was not taken out; there are mlp_out, z, pattern"):
        found.plot("q")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"kinds": "hidden"}, "'hidden' is no kind of site that can be taken out: expected resid_pre, "),
        ({"kinds": "pattern"}, "cut in edges between spans"),
        ({"by": "median"}, "Expected one of zero, mean, resample"),
        ({"by": "mean"}, "A mean is of other prompts, and there are none"),
        ({"by": "resample", "over": ()}, "A resample is of other prompts, and there are none"),
        ({"over": OVER}, "Zeros are of no other prompts"),
        ({"by": "mean", "over": ("",)}, "is over other prompts"),
        ({"by": "mean", "over": ("The",)}, "names none of this prompt's 1 tokens"),
        ({"window": 0}, "at least one block"),
        ({"draws": 0}, "at least one draw"),
        ({"spans": {"subject": "Germany"}}, "'subject' is in no edge"),
        ({"edges": "subject:last", "spans": {"subject": "Spain"}}, "stands nowhere in the prompt"),
        ({"edges": "last:first"}, "nothing to cut from last to first"),
    ],
)
def test_what_cannot_be_taken_out_is_refused(tiny, asked, said):
    with pytest.raises(LayerwiseError, match=said):
        ablate(tiny, PROMPT, ANSWER, AGAINST, **asked)
