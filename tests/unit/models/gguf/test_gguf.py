import copy
import json
import struct
from functools import partial
from pathlib import Path
from typing import Any

import gguf as gguf_format
import numpy as np
import pytest
import torch
import transformers

import layerwise as lw
from benchmarks.tiny_gguf import D_MODEL, FFN, llama_tensors, write_gguf
from layerwise.errors import CorruptFileError, ModelError, UnsupportedModelError
from layerwise.files import sha256_of
from layerwise.models.checkpoint.checkpoint import locate
from layerwise.models.gguf import hub_folder as preparation
from layerwise.models.gguf.gguf_files import open_gguf
from layerwise.models.gguf.header import read_gguf_header
from layerwise.models.gguf.hub_folder import prepare
from layerwise.models.machine import device
from layerwise.models.sources.names import resolve

try:
    import resource
except ImportError:  # Windows
    resource = None


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "tiny.gguf")


def modified(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}


def prepared(file: Path) -> Path:
    return prepare(open_gguf(file))


def load(file: Path) -> Any:
    """Return the transformers model of a file as layerwise loads it."""
    return lw.load(file, device="cpu")._loaded.hf


def test_a_file_loads_as_the_model_in_it(tiny: Path, capfd: pytest.CaptureFixture[str]):
    told: list[Any] = []
    model = lw.load(tiny, device="cpu", progress=lambda *step: told.append(step))
    assert capfd.readouterr() == ("", "")
    written, hf_model = llama_tensors(), model._loaded.hf
    for theirs, ours in [
        ("token_embd", "embed_tokens"),
        ("output_norm", "norm"),
        ("blk.0.ffn_up", "layers.0.mlp.up_proj"),
    ]:
        expected = torch.from_numpy(written[f"{theirs}.weight"])
        assert torch.equal(hf_model.model.get_parameter(f"{ours}.weight"), expected)
    assert hf_model.lm_head.weight is hf_model.model.embed_tokens.weight
    assert model._loaded.tokenizer.encode("ab a<end>", special=False) == (257, 256, 258)
    steps = [step[0] for step in told]
    assert steps[:2] == ["Preparing the configuration (once)", "Preparing the tokenizer (once)"]
    assert "reading the weights" in steps


def test_it_is_the_model_that_transformers_makes_of_the_file(tiny: Path):
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tiny.parent, gguf_file=tiny.name, dtype=torch.float32)
    for name, weight in load(tiny).state_dict().items():
        assert torch.equal(weight, theirs.state_dict()[name]), name


def test_record_says_what_the_folder_was_made_from(tiny: Path):
    folder = prepared(tiny)
    record = json.loads((folder / "layerwise.json").read_text())
    assert record["source"] == "tiny.gguf"
    assert not list(folder.glob("*.safetensors"))


def test_second_preparation_touches_nothing_until_something_changed(tiny: Path, monkeypatch: pytest.MonkeyPatch):
    folder = prepared(tiny)
    before = modified(folder)
    assert prepared(tiny) == folder
    assert modified(folder) == before

    whole = (folder / "tokenizer.json").read_bytes()
    (folder / "tokenizer.json").write_bytes(whole[:100])
    assert prepared(tiny) == folder
    assert (folder / "tokenizer.json").read_bytes() == whole

    before = modified(folder)
    monkeypatch.setattr(preparation, "FORMAT", preparation.FORMAT + 1)
    assert modified(prepared(tiny)) != before


def test_tokenizer_beside_the_file_is_not_used(tiny: Path):
    (tiny.parent / "tokenizer.json").write_text("{}")
    (tiny.parent / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    folder = prepared(tiny)
    assert json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]["ab"] == 257


def test_file_is_located_with_its_own_sum(tiny: Path):
    checkpoint = locate(resolve(str(tiny)))
    assert checkpoint.gguf and checkpoint.gguf.header.architecture == "llama"
    assert checkpoint.weights_sum == sha256_of(tiny)
    assert checkpoint.facts.weight_bytes == sum(values.nbytes for values in llama_tensors().values())


def test_whole_header_is_read(tiny: Path):
    header = read_gguf_header(tiny)
    assert header.architecture == "llama"
    assert header.metadata["tokenizer.ggml.tokens"] == 259
    assert {tensor.name for tensor in header.tensors} == set(llama_tensors())


@pytest.mark.parametrize("kept", [0.99, 0.5, 0.1, 0.01])
def test_file_cut_short_is_refused_with_sizes(tiny: Path, kept: float):
    whole = tiny.read_bytes()
    tiny.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(CorruptFileError, match=f"the file has {int(len(whole) * kept)}\\b.*Download it again"):
        open_gguf(tiny)


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
        open_gguf(path)


def test_any_single_changed_header_byte_is_read_or_refused_but_never_crashes(tiny: Path, tmp_path: Path):
    whole = tiny.read_bytes()
    path = tmp_path / "changed.gguf"
    for at in [*range(0, 600), *range(5000, 5600)]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            read_gguf_header(path)
        except CorruptFileError as error:
            assert "changed.gguf" in str(error)


def test_an_architecture_that_is_not_read_is_named_with_those_that_are(tmp_path: Path):
    path = write_gguf(tmp_path / "odd.gguf", architecture="rwkv6")
    with pytest.raises(UnsupportedModelError, match=r"'rwkv6', which is not read from GGUF: expected one of .*llama"):
        prepared(path)


def test_missing_weight_is_refused_rather_than_made_up(tmp_path: Path):
    tensors = llama_tensors()
    del tensors["blk.0.ffn_up.weight"]
    with pytest.raises(CorruptFileError, match=r"1 weights that LlamaForCausalLM needs .*up_proj"):
        load(write_gguf(tmp_path / "holed.gguf", tensors=tensors))


def test_weights_of_another_shape_are_refused(tmp_path: Path):
    narrow = {"blk.0.ffn_up.weight": np.zeros((FFN // 2, D_MODEL), dtype=np.float32)}
    with pytest.raises(CorruptFileError, match=r"up_proj.weight has shape .16, 16.* asks for .32, 16"):
        load(write_gguf(tmp_path / "narrow.gguf", tensors=llama_tensors() | narrow))


def two_blocks() -> dict[str, np.ndarray]:
    """The tensors of a model with one block more than the header counts."""
    tensors = llama_tensors()
    return tensors | {name.replace("blk.0", "blk.1"): values for name, values in tensors.items() if "blk.0" in name}


@pytest.mark.parametrize("way", ["resident", "streamed"])
def test_blocks_that_the_header_leaves_out_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str):
    if way == "streamed":
        monkeypatch.setattr(device, "placement_in_memory", lambda *_: None)
    with pytest.raises(CorruptFileError, match=r"short\.gguf asks for 1 blocks, and holds more .blk\.1\.attn_norm"):
        load(write_gguf(tmp_path / "short.gguf", tensors=two_blocks()))


def test_blocks_that_predict_further_tokens_are_counted_in_the_header_and_left_out(tmp_path: Path):
    def ahead(writer: gguf_format.GGUFWriter) -> None:
        writer.add_uint32("llama.block_count", 2)
        writer.add_uint32("llama.nextn_predict_layers", 1)

    further = {"blk.1.nextn.eh_proj.weight": np.ones((D_MODEL, 2 * D_MODEL), dtype=np.float32)}
    whole = write_gguf(tmp_path / "ahead.gguf", tensors=two_blocks() | further, more=ahead)
    assert load(whole).config.num_hidden_layers == 1
    with pytest.raises(CorruptFileError, match="says that block 1 predicts further tokens, and it has no tensors"):
        load(write_gguf(tmp_path / "usual.gguf", tensors=two_blocks(), more=ahead))


@pytest.mark.parametrize(
    ("key", "value", "error", "said"),
    [
        ("attention.head_count", 0, CorruptFileError, r"llama\.attention\.head_count is 0; expected a whole number, 1"),
        ("attention.head_count", 7, UnsupportedModelError, r"divides a width of 16 among 7 heads"),
        ("attention.head_count_kv", 0, CorruptFileError, r"llama\.attention\.head_count_kv is 0; expected"),
        ("block_count", 0, CorruptFileError, r"llama\.block_count is 0; expected a whole number, 1 or more"),
    ],
)
def test_metadata_that_no_model_can_have_is_refused_with_its_file(
    tmp_path: Path, key: str, value: int, error: type[ModelError], said: str
):
    changed = partial(gguf_format.GGUFWriter.add_uint32, key=f"llama.{key}", val=value)
    with pytest.raises(error, match=rf"(?s)odd\.gguf.*{said}"):
        load(write_gguf(tmp_path / "odd.gguf", more=changed))


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "MXFP4"])
def test_weights_are_what_the_gguf_package_dequantises(tmp_path: Path, kind: str):
    quantisation = gguf_format.GGMLQuantizationType[kind]
    values = np.random.default_rng(1).standard_normal((D_MODEL, FFN), dtype=np.float32)
    packed = gguf_format.quants.quantize(values, quantisation)
    writer = {"blk.0.ffn_down.weight": (packed, quantisation)}
    path = write_gguf(tmp_path / "packed.gguf", packed=writer)
    expected = torch.from_numpy(gguf_format.quants.dequantize(packed, quantisation))
    assert torch.equal(load(path).model.layers[0].mlp.down_proj.weight, expected)


def test_positions_stretched_by_factors_are_those_of_llama_3(tmp_path: Path):
    scaled = {
        "rope_type": "llama3",
        "rope_theta": 10000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    }
    plain = load(write_gguf(tmp_path / "plain.gguf"))
    config = copy.deepcopy(plain.config)
    config.rope_parameters = scaled
    theirs = transformers.AutoModelForCausalLM.from_config(config)
    theirs.load_state_dict(plain.state_dict())
    factors = plain.model.rotary_emb.inv_freq / theirs.model.rotary_emb.inv_freq
    assert factors.max() > 2, "or nothing would be stretched"
    stretched = llama_tensors() | {"rope_freqs.weight": factors.numpy()}
    ours = load(write_gguf(tmp_path / "stretched.gguf", tensors=stretched))
    ids = torch.arange(40)[None]
    assert torch.allclose(ours(ids).logits, theirs(ids).logits, atol=1e-4)
    assert not torch.allclose(ours(ids).logits, plain(ids).logits, atol=1e-2)


def test_positions_stretched_evenly_are_those_of_linear_scaling(tmp_path: Path):
    def stretch(writer: gguf_format.GGUFWriter) -> None:
        writer.add_rope_scaling_type(gguf_format.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(4.0)

    plain = load(write_gguf(tmp_path / "plain.gguf"))
    config = copy.deepcopy(plain.config)
    config.rope_parameters = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
    theirs = transformers.AutoModelForCausalLM.from_config(config)
    theirs.load_state_dict(plain.state_dict())
    ours, ids = load(write_gguf(tmp_path / "stretched.gguf", more=stretch)), torch.arange(40)[None]
    assert torch.allclose(ours(ids).logits, theirs(ids).logits, atol=1e-4)
    assert not torch.allclose(ours(ids).logits, plain(ids).logits, atol=1e-2)


def split(whole: Path, folder: Path, count: int = 3, more: dict[str, np.ndarray] | None = None) -> list[Path]:
    """Write a model's tensors into several files, as llama.cpp does."""
    tensors = list((llama_tensors() | (more or {})).items())
    files = [folder / f"{whole.stem}-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1)]
    for number, file in enumerate(files):

        def numbered(writer: gguf_format.GGUFWriter, number: int = number) -> None:
            writer.add_uint16("split.no", number)
            writer.add_uint16("split.count", count)
            writer.add_int32("split.tensors.count", len(tensors))

        write_gguf(file, tensors=dict(tensors[number::count]), more=numbered, tokenizer=number == 0)
    return files


def test_a_split_model_is_read_from_all_its_parts(tiny: Path, tmp_path: Path):
    files = split(tiny, tmp_path)
    whole = load(tiny).state_dict()
    for file in files:  # any part names the whole
        loaded = lw.load(file, device="cpu")._loaded
        assert {name: weight.sum() for name, weight in loaded.hf.state_dict().items()} == {
            name: weight.sum() for name, weight in whole.items()
        }
        assert loaded.checkpoint and len(loaded.checkpoint.facts.weight_files) == 3


def test_an_output_head_in_a_later_part_is_not_taken_for_a_tied_one(tiny: Path, tmp_path: Path):
    head = np.random.default_rng(2).standard_normal((259, D_MODEL), dtype=np.float32)
    files = split(tiny, tmp_path, more={"output.weight": head})
    assert "output.weight" not in {tensor.name for tensor in read_gguf_header(files[0]).tensors}
    assert torch.equal(load(files[0]).lm_head.weight, torch.from_numpy(head))


def test_parts_that_were_put_together_again_are_one_file(tmp_path: Path):
    """llama.cpp's tool leaves the keys of the parts there, and sets their number to 0."""

    def merged(writer: gguf_format.GGUFWriter) -> None:
        writer.add_uint16("split.no", 0)
        writer.add_uint16("split.count", 0)
        writer.add_int32("split.tensors.count", len(llama_tensors()))

    path = write_gguf(tmp_path / "whole.gguf", more=merged)
    assert open_gguf(path).files == (path,)


def test_a_missing_part_is_named(tiny: Path, tmp_path: Path):
    files = split(tiny, tmp_path)
    files[1].unlink()
    with pytest.raises(CorruptFileError, match=r"tiny-00002-of-00003.gguf is missing"):
        open_gguf(files[0])


def test_a_part_under_another_name_is_refused(tiny: Path, tmp_path: Path):
    renamed = split(tiny, tmp_path)[0].rename(tmp_path / "model.gguf")
    with pytest.raises(CorruptFileError, match=r"one of 3 parts.*NAME-00001-of-0000N"):
        open_gguf(renamed)


def test_parts_of_different_models_are_refused(tiny: Path, tmp_path: Path):
    files = split(tiny, tmp_path)
    files[2].write_bytes(files[1].read_bytes())
    with pytest.raises(CorruptFileError, match=r"00003-of-00003\.gguf says split\.no is 1; expected 2 .* together"):
        open_gguf(files[0])


def test_parts_with_one_tensor_twice_are_refused(tiny: Path, tmp_path: Path):
    files = split(tiny, tmp_path)
    twice = dict(list(llama_tensors().items())[:1])

    def second(writer: gguf_format.GGUFWriter) -> None:
        writer.add_uint16("split.no", 1)

    write_gguf(files[1], tensors=twice, more=second, tokenizer=False)
    with pytest.raises(CorruptFileError, match=r"don't belong together"):
        open_gguf(files[0])


def test_file_without_tokenizer_is_refused(tmp_path: Path):
    with pytest.raises(UnsupportedModelError, match="no tokenizer"):
        prepared(write_gguf(tmp_path / "mute.gguf", tokenizer=False))


def test_missing_file_is_a_model_error(tmp_path: Path):
    with pytest.raises(ModelError, match="cannot be read"):
        open_gguf(tmp_path / "missing.gguf")


def test_cache_that_cannot_be_written_is_named(tiny: Path, cache: Path):
    cache.write_text("a file stands where the folder should be")
    with pytest.raises(ModelError, match="LAYERWISE_CACHE"):
        prepared(tiny)
    assert cache.is_file()


@pytest.mark.skipif(resource is None, reason="this system cannot limit the size of a file")
@pytest.mark.parametrize("allowed", [100, 2000], ids=["at the tokenizer", "later"])
def test_a_disk_that_fills_during_preparation_is_named_and_leaves_nothing(tiny: Path, cache: Path, allowed: int):
    assert resource
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (allowed, before[1]))
    try:
        with pytest.raises(ModelError, match=r"cache folder .* cannot be written: File too large.*LAYERWISE_CACHE"):
            prepared(tiny)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not any(path.is_file() for path in cache.rglob("*"))
    load(tiny)


def test_arrays_are_read_when_they_are_asked_for(tmp_path: Path):
    def more(writer: gguf_format.GGUFWriter) -> None:
        writer.add_array("llama.some.numbers", [3, 0, 70_000])
        writer.add_array("llama.some.flags", [True, False])

    header = read_gguf_header(write_gguf(tmp_path / "arrays.gguf", more=more))
    assert header.array("llama.some.numbers") == [3, 0, 70_000]
    assert header.array("llama.some.flags") == [True, False]
    assert header.array("tokenizer.ggml.merges") == ["Ġ a", "a b"]
    assert header.array("llama.block_count") == [1]
