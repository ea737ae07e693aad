import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf as gguf_format
import numpy as np
import pytest

from layerwise.errors import CorruptFileError, ModelError, UnsupportedModelError
from layerwise.files import sha256_of
from layerwise.models import gguf
from layerwise.models.checkpoint import inspect, locate
from layerwise.models.gguf import prepare
from layerwise.models.headers import read_gguf_header
from layerwise.models.names import resolve

D_MODEL, HEADS, KV_HEADS, FFN = 16, 2, 1, 32


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def byte_alphabet() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes, in vocabulary order."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in plain] + [chr(256 + n) for n in range(256 - len(plain))]


def llama_tensors() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    head = D_MODEL // HEADS
    shapes = {"token_embd": (259, D_MODEL), "output_norm": (D_MODEL,)}
    block = {
        "attn_norm": (D_MODEL,),
        "attn_q": (D_MODEL, D_MODEL),
        "attn_k": (KV_HEADS * head, D_MODEL),
        "attn_v": (KV_HEADS * head, D_MODEL),
        "attn_output": (D_MODEL, D_MODEL),
        "ffn_norm": (D_MODEL,),
        "ffn_gate": (FFN, D_MODEL),
        "ffn_up": (FFN, D_MODEL),
        "ffn_down": (D_MODEL, FFN),
    }
    shapes |= {f"blk.0.{name}": shape for name, shape in block.items()}
    return {f"{name}.weight": random.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}


def write_gguf(
    path: Path,
    architecture: str = "llama",
    tensors: dict[str, np.ndarray] | None = None,
    more: Callable[[gguf_format.GGUFWriter], None] = lambda writer: None,
    tokenizer: bool = True,
) -> Path:
    writer = gguf_format.GGUFWriter(path, architecture)
    writer.add_name("tiny")
    writer.add_context_length(64)
    writer.add_embedding_length(D_MODEL)
    writer.add_block_count(1)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(D_MODEL // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    if tokenizer:
        writer.add_tokenizer_model("gpt2")
        writer.add_token_list([*byte_alphabet(), "Ġa", "ab", "<end>"])
        writer.add_token_types([1] * 258 + [3])
        writer.add_token_merges(["Ġ a", "a b"])
        writer.add_bos_token_id(258)
        writer.add_eos_token_id(258)
    more(writer)
    for name, values in (llama_tensors() if tensors is None else tensors).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "tiny.gguf")


def modified(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}


def test_prepared_folder_loads_as_the_model_in_the_file(tiny: Path, capfd: pytest.CaptureFixture[str]):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    told: list[Any] = []
    folder = prepare(tiny, progress=lambda *step: told.append(step))
    assert capfd.readouterr() == ("", "")
    assert folder.name == f"tiny-{sha256_of(tiny)[:16]}"
    facts = inspect(folder)
    assert facts.dtype == "float32"
    assert facts.config["model_type"] == "llama"
    assert "quantization_config" not in facts.config

    model = AutoModelForCausalLM.from_pretrained(folder)
    written = llama_tensors()
    for theirs, ours in [
        ("token_embd", "embed_tokens"),
        ("output_norm", "norm"),
        ("blk.0.ffn_up", "layers.0.mlp.up_proj"),
    ]:
        expected = torch.from_numpy(written[f"{theirs}.weight"])
        assert torch.equal(model.model.get_parameter(f"{ours}.weight"), expected)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer("ab a<end>", add_special_tokens=False).input_ids == [257, 256, 258]

    size = tiny.stat().st_size
    assert told[0] == ("Preparing the tokenizer (once)", 0, size)
    assert told[-1] == ("Preparing the weights (once)", size, size)


def test_record_says_what_the_folder_was_made_from(tiny: Path):
    folder = prepare(tiny)
    record = json.loads((folder / "layerwise.json").read_text())
    assert record["source"] == "tiny.gguf"
    assert record["source_sha256"] == sha256_of(tiny) == gguf.prepared_from(folder)
    assert record["weights_sha256"] == sha256_of(folder / "model.safetensors")


def test_second_preparation_touches_nothing_until_something_changed(tiny: Path, monkeypatch: pytest.MonkeyPatch):
    folder = prepare(tiny)
    before = modified(folder)
    assert prepare(tiny) == folder
    assert modified(folder) == before

    with (folder / "model.safetensors").open("r+b") as weights:
        weights.truncate(100)
    assert inspect(prepare(tiny)).dtype == "float32"

    before = modified(folder)
    monkeypatch.setattr(gguf, "FORMAT", gguf.FORMAT + 1)
    assert modified(prepare(tiny)) != before


def test_prepared_weights_with_a_flipped_bit_are_made_anew(tiny: Path):
    weights = prepare(tiny) / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert prepare(tiny) == weights.parent
    assert weights.read_bytes() == whole


def test_prepared_weights_are_not_hashed_again_while_unchanged(tiny: Path, monkeypatch: pytest.MonkeyPatch):
    folder = prepare(tiny)
    monkeypatch.setattr("layerwise.models.cache.sha256_of", pytest.fail)
    assert prepare(tiny) == folder


def test_tokenizer_beside_the_file_is_not_used(tiny: Path):
    (tiny.parent / "tokenizer.json").write_text("{}")
    (tiny.parent / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    folder = prepare(tiny)
    assert json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]["ab"] == 257


def test_file_is_located_with_its_own_sum(tiny: Path):
    checkpoint = locate(resolve(str(tiny)))
    assert checkpoint.from_gguf
    assert checkpoint.weights_sum == sha256_of(tiny)
    assert checkpoint.size_bytes == inspect(checkpoint.folder).weight_bytes > 0


def test_whole_header_is_read(tiny: Path):
    header = read_gguf_header(tiny)
    assert header.architecture == "llama"
    assert header.metadata["tokenizer.ggml.tokens"] == 259
    assert set(header.tensors) == set(llama_tensors())


@pytest.mark.parametrize("kept", [0.99, 0.5, 0.1, 0.01])
def test_file_cut_short_is_refused_with_sizes(tiny: Path, kept: float):
    whole = tiny.read_bytes()
    tiny.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(CorruptFileError, match=f"the file has {int(len(whole) * kept)}\\b.*Download it again"):
        prepare(tiny)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "0 bytes long"),
        (b"GGU", "not a GGUF file"),
        (b"hello\n", r"6 bytes long and begins with b'hello\\n'.*Check that this is the file you mean"),
        (b"\x80\x04pickle--", "not a GGUF file"),
        (b"GGUF" + struct.pack("<I", 1) + bytes(64), "version is 1, expected 2 or 3"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(64), "little-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "general.architecture"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 2**63, 2**63), "header needs at least"),
        (b"GGUF" + struct.pack("<IQQQ1sI", 3, 0, 1, 1, b"k", 99), "unknown value type"),
        (b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 9, 1), "array of an unknown type"),
        (b"GGUF" + struct.pack("<IQQQ1s", 3, 0, 1, 1, b"\xff"), "not UTF-8"),
    ],
)
def test_damaged_header_is_refused(tmp_path: Path, content: bytes, said: str):
    path = tmp_path / "damaged.gguf"
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=said):
        prepare(path)


def test_any_single_changed_header_byte_is_read_or_refused_but_never_crashes(tiny: Path, tmp_path: Path):
    whole = tiny.read_bytes()
    path = tmp_path / "changed.gguf"
    for at in [*range(0, 600), *range(5000, 5600)]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            read_gguf_header(path)
        except CorruptFileError as error:
            assert "changed.gguf" in str(error)


def test_architecture_that_transformers_lacks_is_named(tmp_path: Path):
    path = write_gguf(tmp_path / "odd.gguf", architecture="rwkv6")
    with pytest.raises(UnsupportedModelError, match="'rwkv6'"):
        prepare(path)


def test_missing_weight_is_refused_rather_than_made_up(tmp_path: Path, cache: Path):
    tensors = llama_tensors()
    del tensors["blk.0.ffn_up.weight"]
    with pytest.raises(CorruptFileError, match=r"lacks 1 of the weights.*up_proj"):
        prepare(write_gguf(tmp_path / "holed.gguf", tensors=tensors))
    assert not list(cache.glob("prepared/*"))


def test_stretched_positions_that_transformers_leaves_out_are_refused(tmp_path: Path):
    frequencies = {"rope_freqs.weight": np.ones(D_MODEL // HEADS // 2, dtype=np.float32)}
    with pytest.raises(UnsupportedModelError, match=r"rotary positions .rope_freqs"):
        prepare(write_gguf(tmp_path / "by_tensor.gguf", tensors=llama_tensors() | frequencies))

    yarn = gguf_format.RopeScalingType.YARN
    with pytest.raises(UnsupportedModelError, match=r"rotary positions .yarn"):
        prepare(write_gguf(tmp_path / "by_key.gguf", more=lambda writer: writer.add_rope_scaling_type(yarn)))


def test_part_of_a_split_model_is_refused(tmp_path: Path):
    path = write_gguf(tmp_path / "part.gguf", more=lambda writer: writer.add_uint16("split.count", 3))
    with pytest.raises(UnsupportedModelError, match="one of 3 parts"):
        prepare(path)


def test_file_without_tokenizer_is_refused(tmp_path: Path):
    with pytest.raises(UnsupportedModelError, match="no tokenizer"):
        prepare(write_gguf(tmp_path / "mute.gguf", tokenizer=False))


def test_missing_file_is_a_model_error(tmp_path: Path):
    with pytest.raises(ModelError, match="cannot be read"):
        prepare(tmp_path / "missing.gguf")


def test_cache_that_cannot_be_written_is_named(tiny: Path, cache: Path):
    cache.write_text("a file stands where the folder should be")
    with pytest.raises(ModelError, match="LAYERWISE_CACHE"):
        prepare(tiny)
    assert cache.is_file()
