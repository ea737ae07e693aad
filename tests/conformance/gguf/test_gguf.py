"""Files as llama.cpp's converter writes them, read and compared with the checkpoints that they were made from.

`python -m benchmarks.gguf --converter download` shows that our own writer's files are the converter's.
"""

import dataclasses
import re

import gguf
import numpy as np
import pytest
import transformers

import layerwise as lw
from benchmarks.gguf import checkpoints, writer
from benchmarks.gguf.cases import CASES
from benchmarks.gguf.files import differences
from benchmarks.gguf.reading import TOLERANCE, largest_difference, largest_error
from benchmarks.gguf.writer import write
from layerwise.errors import CorruptFileError, UnsupportedModelError
from layerwise.models.gguf.description import describe
from layerwise.models.gguf.families import FAMILIES
from layerwise.models.gguf.gguf_files import open_gguf
from layerwise.models.gguf.hub_folder import configuration_of

BY_NAME = {case.name: case for case in CASES}

REFUSED = {case.architecture for case in CASES} - FAMILIES.keys()
"""Architectures of llama.cpp whose files are refused, by name."""

LEFT_OPEN = {
    # llama.cpp caps the logits then, and its converter leaves the key out for models that don't.
    "gemma4/no-final-cap": "does not say whether its logits are capped",
    "llama/longrope": "LongRoPE, and holds none of its factors",
    "nemotron/wide-heads": "say wrongly how many numbers are turned",
    "nemotron/yarn": "calls its rotary scaling linear",
}
"""Files that show that a setting was lost, not which, with what the refusal says."""

TRIVIAL = {
    "architectures",
    "attention_dropout",
    "attn_pdrop",
    "bos_token_id",
    "dtype",
    "embd_pdrop",
    "embedding_dropout",
    "eos_token_id",
    "hidden_dropout",
    "initializer_range",
    "is_encoder_decoder",
    "model_type",
    "output_router_logits",
    "pad_token_id",
    "resid_pdrop",
    "residual_dropout",
    "router_aux_loss_coef",
    "use_cache",
    "transformers_version",
    "id2label",
    "label2id",
    "problem_type",
    "return_dict",
    "output_attentions",
    "output_hidden_states",
    "chunk_size_feed_forward",
    "_name_or_path",
    "pretraining_tp",
    "slow_but_exact",
    "add_cross_attention",  # other orders of the same sums, and no decoder's
    "summary_type",
    "summary_use_proj",
    "summary_activation",
    "summary_proj_to_labels",
    "summary_first_dropout",
    "rescale_prenorm_residual",
    "use_mambapy",
    "use_associative_scan",
    "time_step_min",
    "time_step_max",
    "time_step_init_scheme",
    "time_step_floor",
    "full_attn_idxs",
    "block_multiple_of",
    "block_ffn_dim_multiplier",  # said by layer_types and the width
    "_sliding_window_pattern",  # said by layer_types
}
"""Settings that change nothing in the forward pass of a decoder in evaluation mode, or whose part others play."""


@pytest.fixture
def written(tmp_path):
    """Writes a case's file, and returns it with the model that it describes."""

    def make(name: str):
        case = BY_NAME[name]
        original = checkpoints.build(case)
        path = write(case, original, tmp_path / f"{case.architecture}.gguf")
        return path, checkpoints.reference(case, original)

    return make


@pytest.mark.parametrize(
    "name", [name for name, case in BY_NAME.items() if case.architecture not in REFUSED and name not in LEFT_OPEN]
)
def test_a_file_is_read_as_the_checkpoint_that_it_was_made_from(name, written):
    path, reference = written(name)
    assert largest_error(path, reference) <= TOLERANCE


@pytest.mark.parametrize("architecture", sorted(REFUSED))
def test_an_architecture_that_is_not_mapped_is_refused_by_name(architecture, written):
    path, _ = written(next(name for name, case in BY_NAME.items() if case.architecture == architecture))
    with pytest.raises(lw.LayerwiseError, match=architecture):
        lw.load(path)


@pytest.mark.parametrize("name", LEFT_OPEN)
def test_a_file_that_leaves_open_what_the_checkpoint_said_is_refused(name, written):
    path, _ = written(name)
    with pytest.raises(UnsupportedModelError, match=LEFT_OPEN[name]):
        lw.load(path)


@pytest.mark.parametrize(
    ("name", "lacking"),
    [
        ("minimax-m2/plain", "blk.1.exp_probs_b.bias"),
        ("gemma4/plain", "blk.2.layer_output_scale.weight"),
        ("gemma4/plain", "rope_freqs.weight"),
    ],
)
def test_what_a_file_lacks_is_not_made_up(name, lacking, written, monkeypatch):
    """Biases and scales that are no parameters have a value before any file is read."""
    whole = writer.tensors
    monkeypatch.setattr(
        writer, "tensors", lambda *of: {found: tensor for found, tensor in whole(*of).items() if found != lacking}
    )
    path, _ = written(name)
    with pytest.raises(CorruptFileError, match=r"1 weights that .* are in none of|has no tensor rope_freqs"):
        lw.load(path, device="cpu")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        *((name, "expert_used_count") for name in ("llama/mixtral", "qwen3moe/plain", "qwen35moe/plain")),
        *((name, "expert_used_count") for name in ("gpt-oss/plain", "minimax-m2/plain", "gemma4/experts")),
        *((name, "attention.sliding_window") for name in ("gemma2/plain", "gemma4/plain", "gpt-oss/plain")),
    ],
)
def test_no_experts_and_no_width_of_a_window_are_refused(name, key, tmp_path):
    case = dataclasses.replace(BY_NAME[name], keys={key: 0})
    path = write(case, checkpoints.build(case), tmp_path / "none.gguf")
    with pytest.raises(CorruptFileError, match=rf"{re.escape(key)} is 0; expected a whole number, 1 or more"):
        describe(open_gguf(path))


@pytest.mark.parametrize("architecture", sorted(FAMILIES))
def test_no_setting_is_left_to_the_class(architecture, written):
    """Or a file would be read as the checkpoint that the class's author had in mind."""
    path, _ = written(next(name for name, case in BY_NAME.items() if case.architecture == architecture))
    description = describe(open_gguf(path))
    settings = {
        name
        for name in configuration_of(description).to_dict()
        if name not in transformers.PreTrainedConfig().to_dict()
    }
    aliases = configuration_of(description).attribute_map
    decided = {aliases.get(name, name) for name in description.settings}
    assert settings - decided - TRIVIAL == set()


@pytest.mark.parametrize("name", [case.name for case in CASES if case.lost])
def test_a_setting_that_the_file_loses_changes_the_original(name):
    """Else the case would prove nothing: what the file says must differ from what the checkpoint said."""
    case = BY_NAME[name]
    original = checkpoints.build(case)
    assert largest_difference(original, checkpoints.reference(case, original)) > 10 * TOLERANCE


def test_every_case_has_a_name_of_its_own():
    assert len(BY_NAME) == len(CASES)


def test_sizes_that_a_case_asks_for_are_those_that_it_has():
    """Configurations know some under two names, of which the usual one would win."""
    names = ("bloom/six-heads", "llama/mixtral-three-of-five", "gpt-oss/three-of-five")
    bloom, mixtral, gpt_oss = (checkpoints.build(BY_NAME[name]).config for name in names)
    assert (bloom.n_head, mixtral.num_local_experts, gpt_oss.num_local_experts) == (6, 5, 5)


def test_a_case_is_drawn_the_same_whatever_ran_before():
    case = BY_NAME["gpt-oss/plain"]
    first = checkpoints.build(case).state_dict()
    checkpoints.build(BY_NAME["mamba/plain"])
    assert all(np.array_equal(first[name], weight) for name, weight in checkpoints.build(case).state_dict().items())


def test_what_differs_between_two_files_is_named(tmp_path):
    def made(name: str, base: float, weight: np.ndarray, more: bool):
        writer = gguf.GGUFWriter(tmp_path / name, "llama")
        writer.add_float32("llama.rope.freq_base", base)
        if more:
            writer.add_uint32("llama.vocab_size", 4)
        writer.add_tensor("output_norm.weight", weight)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return tmp_path / name

    ours = made("ours.gguf", 1e4, np.ones(4, np.float32), more=True)
    theirs = made("theirs.gguf", 5e5, np.full(4, 1.001, np.float32), more=False)
    assert differences(ours, ours) == []
    assert differences(ours, theirs) == [
        "only ours: llama.vocab_size",
        "llama.rope.freq_base: ours 10000.0 (FLOAT32), theirs 500000.0 (FLOAT32)",
        "tensor output_norm.weight: ours F32 (4,), theirs F32 (4,)",
    ]
