#!/usr/bin/env bash
# A RecurrentGemma model of transformers 5.23.0 keeps the state in which its recurrent blocks ended as a plain attribute,
# with the graph that it was computed by. After one forward pass with gradients, whose output is dropped, the graph is
# still alive, and the model cannot be deep-copied any more.
#
# Prints what is kept. Ends with 0 as long as that is so, with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0 numpy
cd "$folder"
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - <<'PYTHON'
import copy
import sys

import torch
import transformers

config = transformers.RecurrentGemmaConfig(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2,
    num_key_value_heads=1, lru_width=32, attention_window_size=16,
)
model = transformers.RecurrentGemmaForCausalLM(config).eval()
model(input_ids=torch.arange(8)[None], use_cache=False).logits.sum().backward()
kept = [
    f"{name}.{attribute}"
    for name, module in model.named_modules()
    for attribute, value in vars(module).items()
    if isinstance(value, torch.Tensor) and value.grad_fn is not None
]
try:
    copy.deepcopy(model)
    copied = "it is copied"
except RuntimeError as error:
    copied = f"copying it fails: {error}"[:120]
print(f"transformers {transformers.__version__}: kept with their graph: {kept}; {copied}")
sys.exit(0 if kept and copied.startswith("copying") else 1)
PYTHON
