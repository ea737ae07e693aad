"""The table of what is read of which architecture is complete, and true of a sample."""

import subprocess
import sys

import pytest

from benchmarks.capabilities import capability_of, known_architectures
from layerwise.models.sources.capabilities import YES, capabilities


def test_every_architecture_that_transformer_lens_knows_has_a_row():
    assert [row.architecture for row in capabilities().rows] == known_architectures()


def test_every_field_says_yes_or_why_not():
    for row in capabilities().rows:
        assert row.lens == YES or row.lens.startswith(("no: ", "not tried: ")), row
        others = {row.streamed, row.shared_beginnings, row.gguf, row.bridge}
        assert "" not in others
        assert ("–" in others) == (row.lens != YES), "nothing else is tried of what cannot be read"


def test_the_missions_families_are_read_and_streamed():
    known = {row.architecture: row for row in capabilities().rows}
    for family in ("Qwen3", "Llama", "Mistral", "Gemma2", "Gemma3"):
        row = known[f"{family}ForCausalLM"]
        assert (row.lens, row.streamed, row.shared_beginnings, row.bridge) == (YES,) * 4


@pytest.mark.parametrize(
    "architecture",
    [
        "LlamaForCausalLM",
        "MixtralForCausalLM",
        "MambaForCausalLM",
        "NeoXForCausalLM",
        "OpenAIGPTLMHeadModel",
        "T5ForConditionalGeneration",
        "ViTModel",
        "LLaDAModelLM",
    ],
)
def test_a_sample_of_rows_is_true_now(architecture):
    [row] = [row for row in capabilities().rows if row.architecture == architecture]
    assert capability_of(architecture) == row


def test_reading_the_table_imports_no_model_library():
    code = (
        "import sys; from layerwise.models.sources.capabilities import capabilities; capabilities(); "
        "print(*{'torch', 'transformers'} & sys.modules.keys())"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""


@pytest.mark.parametrize("arguments", [["list", "--capabilities"], ["--capabilities"]])
def test_the_command_shows_every_row(arguments):
    from typer.testing import CliRunner

    from layerwise.cli.app import app

    shown = CliRunner().invoke(app, ["models", *arguments])
    assert shown.exit_code == 0
    assert all(row.architecture in shown.output for row in capabilities().rows)
    assert capabilities().transformers in shown.output
