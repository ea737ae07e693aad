import dataclasses
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
import transformers

import layerwise as lw
from layerwise.errors import DoesNotFitError, ModelError, UnknownModelError
from layerwise.models.checkpoint.checkpoint import inspect
from layerwise.models.loading.random_weights import draw_model, round_and_move
from layerwise.models.sources.names import resolve

FAMILIES = ["qwen3", "llama3", "mistral", "gemma2"]
PROMPT = "The capital of Germany is"


@pytest.fixture(scope="module")
def control(family_folder):
    """Loads the control of a family's checkpoint."""
    return lambda name="qwen3", **options: lw.load(f"random:{family_folder(name)}", device="cpu", **options)


@pytest.mark.parametrize("name", ["smollm2-135m", "qwen3-8b", "EleutherAI/pythia-70m", "."])
@pytest.mark.parametrize("prefix", ["random:", "Random:", " random:"])
def test_every_kind_of_model_has_a_control_behind_the_prefix(prefix: str, name: str):
    assert resolve(prefix + name) == dataclasses.replace(resolve(name), asked=prefix + name, random=True)


def test_a_revision_is_that_of_configuration_and_tokenizer():
    assert resolve("random:qwen3-8b", "main") == dataclasses.replace(
        resolve("qwen3-8b", "main"), asked="random:qwen3-8b", random=True
    )
    with pytest.raises(ModelError, match="only models on the hub have revisions"):
        resolve("random:smollm2-135m", "main")


@pytest.mark.parametrize("name", ["random:", "random:zzz", "random:random:smollm2-135m", "random:./missing"])
def test_a_control_of_nothing_is_unknown(name: str):
    with pytest.raises(UnknownModelError):
        resolve(name)


def test_a_path_has_no_prefix():
    with pytest.raises(UnknownModelError, match="no file or folder"):
        resolve(Path("random:smollm2-135m"))


@pytest.mark.parametrize("name", FAMILIES)
def test_weights_are_what_transformers_draws_under_the_seed(control, family_folder, name):
    config = transformers.AutoConfig.from_pretrained(family_folder(name))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        expected = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).state_dict()
    drawn = control(name)._loaded.hf.state_dict()
    assert drawn.keys() == expected.keys()
    assert all(torch.equal(drawn[key], expected[key]) for key in expected)


@pytest.mark.parametrize("name", FAMILIES)
def test_numbers_are_finite_and_pass_the_checks(control, name):
    trace = control(name).trace(PROMPT, positions="all")
    assert trace.checks.identity_error < 1e-5  # at most 2e-7 measured, over three prompts
    assert np.isfinite(trace.entropy_bits).all()
    assert np.isfinite(trace.top_logprobs).all()


@pytest.mark.parametrize(("name", "tied"), [("gemma2", True), ("qwen3", False)])
def test_tied_tables_stay_tied_in_any_precision(control, name, tied):
    for dtype in ("float32", "bfloat16"):
        hf_model = control(name, dtype=dtype)._loaded.hf
        assert (hf_model.get_input_embeddings().weight is hf_model.get_output_embeddings().weight) == tied


def test_it_is_the_same_each_time_and_moves_no_random_state(control):
    with torch.random.fork_rng():
        torch.manual_seed(5)
        state = torch.random.get_rng_state()
        first = control()
        assert torch.equal(torch.random.get_rng_state(), state)
        torch.rand(3)
        assert control().info == first.info


def test_a_users_default_device_does_not_matter(control):
    config = control()._loaded.hf.config
    with torch.device("meta"):
        assert {parameter.device.type for parameter in draw_model(config).parameters()} == {"cpu"}


def test_provenance_says_that_the_weights_are_random(control, family_folder, load_family):
    info, model, folder = control().info, load_family("qwen3").info, family_folder("qwen3")
    assert (info.name, info.source, info.location) == (f"random:{folder}", "random", str(folder))
    held = control()._loaded
    assert info.weights_sum == lw.load(held.hf, tokenizer=held.tokenizer.hf).info.weights_sum
    assert info.weights_sum != model.weights_sum
    of_weights = ("name", "source", "weights_sum")
    assert {k: v for k, v in dataclasses.asdict(info).items() if k not in of_weights} == {
        k: v for k, v in dataclasses.asdict(model).items() if k not in of_weights
    }
    assert control().identified() == info


def test_the_checkpoints_weights_are_not_read(tmp_path, fresh_parts, control):
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    with torch.no_grad():
        for parameter in hf_model.parameters():
            parameter.fill_(float("nan"))
    hf_model.save_pretrained(tmp_path)
    hf_tokenizer.save_pretrained(tmp_path)
    assert lw.load(f"random:{tmp_path}", device="cpu").info.weights_sum == control().info.weights_sum


def test_half_precision_has_the_same_weights_rounded(control):
    exact, half = control()._loaded.hf, control(dtype="bfloat16")._loaded.hf
    rounded = dict(half.named_parameters())
    assert all(torch.equal(weights.bfloat16(), rounded[name]) for name, weights in exact.named_parameters())
    assert half.model.rotary_emb.inv_freq.dtype == torch.float32
    assert control(dtype="bfloat16").trace(PROMPT).checks.drift_variation is not None


def test_what_transformers_never_rounds_is_not_rounded(control):
    hf_model = draw_model(control()._loaded.hf.config)
    hf_model._keep_in_fp32_modules_strict = {"mlp.*_proj"}
    round_and_move(hf_model, torch.bfloat16, torch.device("cpu"))
    assert hf_model.model.layers[0].mlp.up_proj.weight.dtype == torch.float32
    assert hf_model.model.layers[0].self_attn.q_proj.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", ["auto", "bfloat16"])
def test_a_control_that_does_not_fit_is_refused_not_streamed(control, dtype):
    with pytest.raises(DoesNotFitError, match=r"random weights are in no file .* --memory allows 1MB in all"):
        control(memory="1MB", dtype=dtype)


def test_packed_weights_are_counted_as_what_they_are_unpacked(control, family_folder, monkeypatch):
    from layerwise.models.checkpoint import checkpoint

    real = control().info.parameters
    packed = dataclasses.replace(inspect(family_folder("qwen3")), parameters=real // 8, dtype="int32")
    monkeypatch.setattr(checkpoint, "inspect", lambda folder: packed)
    with pytest.raises(DoesNotFitError, match=f"all {real:,} have to be in memory"):
        control(memory="1MB")


def test_a_gguf_file_and_a_bundled_model_have_the_control_of_their_architecture(toy_bundled):
    file = toy_bundled()
    of_file, of_name = (lw.load(f"random:{name}", device="cpu").info for name in (file, "smollm2-135m"))
    assert (of_file.source, of_file.location) == ("random", str(file))
    assert (of_name.source, of_name.location) == ("random", "smollm2-135m")
    assert of_file.weights_sum == of_name.weights_sum != lw.load(file, device="cpu").info.weights_sum


def test_positions_are_stretched_as_the_gguf_file_says(toy_bundled, monkeypatch):
    add_rope = gguf.GGUFWriter.add_rope_dimension_count

    def add_stretched_rope(writer: gguf.GGUFWriter, count: int) -> None:
        add_rope(writer, count)
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(4.0)

    monkeypatch.setattr(gguf.GGUFWriter, "add_rope_dimension_count", add_stretched_rope)
    file = toy_bundled()
    drawn, read = (lw.load(name, device="cpu")._loaded.hf for name in (f"random:{file}", file))
    assert drawn.model.rotary_emb.inv_freq[0] == 0.25
    assert torch.equal(drawn.model.rotary_emb.inv_freq, read.model.rotary_emb.inv_freq)


def test_the_bridge_has_the_random_weights(control):
    model = control()
    ids = torch.tensor([model._loaded.tokenizer.hf(PROMPT)["input_ids"]])
    with torch.no_grad():
        assert torch.allclose(model.bridge(ids), model._loaded.hf(ids).logits, atol=1e-5)
