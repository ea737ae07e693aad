"""A bundled model of some kilobytes, for tests of what surrounds the real ones."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from layerwise.files import sha256_of
from layerwise.models.sources.bundled import BUNDLED

_D_MODEL, _FFN, _TOKENS = 16, 32, 258


@pytest.fixture
def toy_bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes a cache of one's own, with one model of some kilobytes in it that stands for smollm2-135m.

    ``toy_bundled(norm=math.nan)`` has weights that are wrong although the file's sum is right.
    """

    def make(norm: float = 1.0) -> Path:
        file = tmp_path / "cache" / "bundled" / "toy.gguf"
        file.parent.mkdir(parents=True)
        _write(file, norm)
        real = BUNDLED["smollm2-135m"]
        toy = dataclasses.replace(real, file_name=file.name, sha256=sha256_of(file), size_bytes=file.stat().st_size)
        monkeypatch.setitem(BUNDLED, toy.name, toy)
        monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path / "cache"))
        return file

    return make


def _write(file: Path, norm: float) -> None:
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_name("toy")
    writer.add_context_length(64)
    writer.add_embedding_length(_D_MODEL)
    writer.add_block_count(1)
    writer.add_feed_forward_length(_FFN)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_rope_dimension_count(_D_MODEL // 2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]  # GPT-2's stand-ins for the 256 bytes
    writer.add_token_list([*map(chr, plain), *(chr(256 + n) for n in range(256 - len(plain))), "Ġa", "<end>"])
    writer.add_token_types([1] * (_TOKENS - 1) + [3])
    writer.add_token_merges(["Ġ a"])
    writer.add_eos_token_id(_TOKENS - 1)
    random = np.random.default_rng(0)
    narrow, wide = (_D_MODEL // 2, _D_MODEL), (_D_MODEL, _D_MODEL)
    shapes = {"token_embd": (_TOKENS, _D_MODEL), "blk.0.attn_q": wide, "blk.0.attn_k": narrow, "blk.0.attn_v": narrow}
    shapes |= {"blk.0.attn_output": wide, "blk.0.ffn_gate": (_FFN, _D_MODEL), "blk.0.ffn_up": (_FFN, _D_MODEL)}
    for name, shape in (shapes | {"blk.0.ffn_down": (_D_MODEL, _FFN)}).items():
        writer.add_tensor(f"{name}.weight", random.standard_normal(shape, dtype=np.float32))
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.full(_D_MODEL, norm, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
