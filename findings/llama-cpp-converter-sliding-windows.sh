#!/usr/bin/env bash
# Mistral-7B-v0.1, Mixtral, StarCoder2, and Qwen 2 and 3 where they ask for it, attend to a window of tokens.
# llama.cpp's converter, as llama-cpp-python 0.3.36 has it in its source distribution, writes the window of Phi-3 and
# no key at all for theirs, without a word: a GGUF file of theirs means a model that attends to everything, which
# gives other predictions as soon as a text is longer than the window.
#
# Prints for each whether the file tells the window, and what leaving it out does to a random model's predictions.
# Ends with 0 as long as that is so, with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    torch==2.13.0 transformers==5.23.0 safetensors==0.8.0 numpy sentencepiece pyyaml requests tqdm
"$folder/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --no-binary=llama-cpp-python \
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
window = 8
sizes = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
         "num_key_value_heads": 2, "initializer_range": 0.5}
asked_for = {"use_sliding_window": True, "max_window_layers": 0}
configs = [
    transformers.MistralConfig(**sizes, sliding_window=window),
    transformers.MixtralConfig(**sizes, sliding_window=window),
    transformers.Starcoder2Config(**sizes, sliding_window=window),
    transformers.Qwen2Config(**sizes, sliding_window=window, **asked_for),
    transformers.Qwen3Config(**sizes, sliding_window=window, **asked_for),
    transformers.Phi3Config(**sizes, sliding_window=window, pad_token_id=0),
]


def keys_of_window(hf_model: transformers.PreTrainedModel, folder: Path) -> list[str]:
    """Return the keys about windows in a checkpoint's file. The vocabulary is left out: this is not about it."""
    hf_model.save_pretrained(folder)
    hparams = ModelBase.load_hparams(folder, False)
    base = get_model_class(get_model_architecture(hparams, ModelType.TEXT))
    kind = type(base.__name__, (base,), {"set_vocab": lambda self: None, "model_arch": base.model_arch})
    kind(folder, gguf.LlamaFileType.ALL_F32, folder / "model.gguf", hparams=hparams).write()
    return [key for key in gguf.GGUFReader(folder / "model.gguf").fields if "window" in key]


told = {}
with torch.inference_mode():
    for config in configs:
        torch.manual_seed(0)
        hf_model = transformers.AutoModelForCausalLM.from_config(config).eval()
        told[config.model_type] = keys_of_window(hf_model, Path(config.model_type))
        plain = type(config)(**config.to_dict() | {"sliding_window": None, "layer_types": None})
        without = type(hf_model)(plain).eval()
        without.load_state_dict(hf_model.state_dict())
        ids = torch.arange(3 * window)[None]
        first, second = (each(ids).logits[0, -1].softmax(-1) for each in (hf_model, without))
        print(f"{config.model_type}: keys about the window: {told[config.model_type] or 'none'}; without the window, "
              f"total variation after {3 * window} tokens {float((first - second).abs().sum() / 2):.2f}")
lost = [name for name, keys in told.items() if not keys]
print(f"llama.cpp's converter in llama-cpp-python 0.3.36, transformers {transformers.__version__}: no window in the files of "
      f"{', '.join(lost)}")
sys.exit(0 if lost == ["mistral", "mixtral", "starcoder2", "qwen2", "qwen3"] else 1)
PYTHON
