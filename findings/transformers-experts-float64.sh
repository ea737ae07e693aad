#!/usr/bin/env bash
# In transformers 5.23.0 a mixture of experts does not run in float64, in which one computes what float32 is compared
# with: the kernel for all experts at once, which is the default, takes no such numbers. With the plain loop over
# experts (set_experts_implementation("eager")) the same model runs.
#
# Prints both. Ends with 0 as long as that is so, with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0 numpy
cd "$folder"
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - <<'PYTHON'
import sys

import torch
import transformers

config = transformers.MixtralConfig(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=1, num_local_experts=4, num_experts_per_tok=2,
)
model = transformers.MixtralForCausalLM(config).eval().double()


def outcome() -> str:
    try:
        with torch.no_grad():
            return f"runs, in {model(input_ids=torch.arange(8)[None]).logits.dtype}"
    except RuntimeError as error:
        return f"fails: {error}"


by_default = outcome()
model.set_experts_implementation("eager")
eager = outcome()
print(f"transformers {transformers.__version__}, torch {torch.__version__}: by default it {by_default}; with eager it {eager}")
sys.exit(0 if by_default.startswith("fails") and eager.startswith("runs") else 1)
PYTHON
