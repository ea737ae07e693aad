"""`layerwise models show` on GGUF files: what the file says about itself."""

from pathlib import Path

import gguf
import numpy as np
import pytest


@pytest.fixture
def show(layerwise):
    """Run `layerwise models show`."""
    return lambda name: layerwise("models", "show", str(name), "--device", "cpu")


@pytest.fixture
def mute(tmp_path, monkeypatch) -> Path:
    """A file without a tokenizer, which cannot be loaded, and with metadata that is no good to print as it is."""
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "mute.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("\x1b[2J\nowned\u202e")
    writer.add_description("d" * 5000)
    writer.add_bool("general.odd", True)
    for number in range(300):
        writer.add_uint8(f"own.{number}", 1)
    writer.add_tensor("a", np.ones(8, np.float32))
    writer.add_tensor("b", np.ones((2, 4), np.float16))
    packed = gguf.quants.quantize(np.ones((2, 64), np.float32), gguf.GGMLQuantizationType.Q4_0)
    writer.add_tensor("c", packed, raw_dtype=gguf.GGMLQuantizationType.Q4_0)
    writer.add_tensor("d", packed, raw_dtype=gguf.GGMLQuantizationType.Q4_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_gguf_files_metadata_stands_below_the_models_facts(show, toy_bundled):
    file = toy_bundled()
    for name in (file, "smollm2-135m"):
        code, out, _ = show(name)
        facts, metadata = out.split("metadata of toy.gguf")
        assert code == 0
        assert "LlamaForCausalLM" in facts
        rows = dict(line.split(maxsplit=1) for line in metadata.splitlines() if line)
        assert rows["general.architecture"] == "llama"
        assert rows["llama.context_length"] == "64"
        assert rows["tokenizer.ggml.model"] == "gpt2"
        assert rows["tokenizer.ggml.tokens"] == "(258 entries)"
        assert rows["tokenizer.ggml.merges"] == "(1 entry)"
        assert rows["float32"].startswith("11 tensors")


def test_a_file_that_cannot_be_loaded_still_says_what_it_is(show, mute):
    code, out, err = show(mute)
    assert code == 1
    assert "no tokenizer" in err
    assert [line.split()[:2] for line in out.split("tensors by type")[1].split("\n") if line] == [
        ["Q4_0", "2"],
        ["float32", "1"],
        ["float16", "1"],
    ]


def test_metadata_is_cut_and_cannot_steer_the_terminal(show, mute):
    _, out, _ = show(mute)
    assert not {"\x1b", "\u202e"} & set(out)
    assert "↵owned" in out
    assert max(len(line) for line in out.splitlines()) < 300
    assert "… and 104 more" in out


def test_a_folder_has_no_metadata_of_its_own(show, family_folder):
    code, out, _ = show(family_folder("qwen3"))
    assert code == 0
    assert "metadata of" not in out


def test_a_control_is_shown_without_the_weights_that_it_does_not_have(show, toy_bundled):
    toy_bundled()
    code, out, _ = show("random:smollm2-135m")
    assert code == 0
    assert "source          random" in out
    assert "tensors by type" not in out
