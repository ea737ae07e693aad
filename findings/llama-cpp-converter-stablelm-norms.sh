#!/usr/bin/env bash
# StableLM 2 12B norms each head's query and key (qk_layernorm). llama.cpp's converter, as llama-cpp-python 0.3.36 has it
# in its source distribution, stacks those norms in a generator that hands back another generator with `return`, so
# that the stacked norms are never written: it stops with "Unprocessed norms" at every such checkpoint. Without the
# norms the same checkpoint is converted.
#
# Prints what came of both. Ends with 0 as long as that is so, with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    torch==2.13.0 transformers==5.23.0 safetensors==0.8.0 numpy sentencepiece pyyaml requests tqdm
"$folder/venv/bin/pip" download --quiet --no-deps --no-binary=llama-cpp-python \
    --dest "$folder" llama-cpp-python==0.3.36
tar -xzf "$folder"/llama_cpp_python-0.3.36.tar.gz -C "$folder"
cd "$folder"
HF_HUB_OFFLINE=1 TQDM_DISABLE=1 venv/bin/python - <<'PYTHON'
import logging
import sys
from pathlib import Path

sources = "llama_cpp_python-0.3.36/vendor/llama.cpp"
sys.path[:0] = [sources, f"{sources}/gguf-py"]
import gguf
import torch
import transformers
from convert_hf_to_gguf import ModelBase, ModelType, get_model_architecture, get_model_class

logging.disable(logging.CRITICAL)
sizes = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def converted(**settings: bool) -> str:
    """Return what became of a tiny checkpoint. The vocabulary is left out: it is not what this is about."""
    folder = Path("model-" + "-".join(settings))
    config = transformers.StableLmConfig(**sizes, num_key_value_heads=2, **settings)
    transformers.StableLmForCausalLM(config).save_pretrained(folder)
    hparams = ModelBase.load_hparams(folder, False)
    base = get_model_class(get_model_architecture(hparams, ModelType.TEXT))
    kind = type(base.__name__, (base,), {"set_vocab": lambda self: None, "model_arch": base.model_arch})
    with torch.inference_mode():
        try:
            kind(folder, gguf.LlamaFileType.ALL_F32, folder / "model.gguf", hparams=hparams).write()
        except ValueError as error:
            return f"ValueError: {error}"
    return f"{len(gguf.GGUFReader(folder / 'model.gguf').tensors)} tensors"


plain, normed = converted(use_cache=True), converted(qk_layernorm=True)
print(f"llama.cpp's converter in llama-cpp-python 0.3.36: without norms of heads {plain}; with them {normed[:120]}")
sys.exit(0 if plain.endswith("tensors") and normed.startswith("ValueError: Unprocessed norms") else 1)
PYTHON
