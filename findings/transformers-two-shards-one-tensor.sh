#!/usr/bin/env bash
# A sharded checkpoint in which one tensor lies in two files, as after a shard was replaced and the other kept a copy:
# model.safetensors.index.json says which file counts. transformers 5.23.0 takes the copy in the last file all the same,
# without a word, so that the model has other weights than its index says.
#
# Prints what was taken. Ends with 0 as long as that is so, with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0 safetensors==0.8.0 numpy
cd "$folder"
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - <<'PYTHON'
import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file

sizes = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
folder = Path("model")
transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes)).save_pretrained(folder)
held = load_file(folder / "model.safetensors")
(folder / "model.safetensors").unlink()
name = "model.layers.0.mlp.down_proj.weight"
copy = held[name] + 1
shards = {
    "model-00001-of-00002.safetensors": {name: held[name]},
    "model-00002-of-00002.safetensors": held | {name: copy},
}
for file, tensors in shards.items():
    save_file(tensors, folder / file, metadata={"format": "pt"})
where = {each: "model-00002-of-00002.safetensors" for each in held} | {name: "model-00001-of-00002.safetensors"}
(folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
taken = transformers.LlamaForCausalLM.from_pretrained(folder).state_dict()[name]
print(f"transformers {transformers.__version__}: takes the tensor of the indexed file: {torch.equal(taken, held[name])}, "
      f"the copy in the other file: {torch.equal(taken, copy)}")
sys.exit(0 if torch.equal(taken, copy) else 1)
PYTHON
