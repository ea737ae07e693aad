#!/usr/bin/env bash
# transformer-lens 4.3.0: the patching functions that are ready made, such as get_act_patch_resid_pre, take index_df, to patch
# some cells only. Given one, they stop at a bare assertion: the table may not come together with names of axes, and each of
# these functions brings those along by itself. With index_axis_names=None beside it, the same table works.
#
# Expected: index_df alone patches the cells that it lists. Seen: AssertionError without a word; fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check transformer-lens==4.3.0 transformers==5.23.0 pandas
env/bin/python - 2>/dev/null <<'PYTHON'
import warnings

warnings.filterwarnings("ignore")
import pandas as pd
import torch
from tokenizers import Tokenizer, models
from transformer_lens import patching
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

torch.manual_seed(0)
config = GPT2Config(n_layer=2, n_embd=16, n_head=2, n_positions=8, vocab_size=20)
config.architectures = ["GPT2LMHeadModel"]
words = Tokenizer(models.WordLevel({f"w{number}": number for number in range(20)}, unk_token="w0"))
PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0", pad_token="w0", bos_token="w1", eos_token="w1").save_pretrained("tiny")
tokenizer = AutoTokenizer.from_pretrained("tiny")
model = TransformerBridge.boot_transformers(
    "tiny-gpt2", hf_model=GPT2LMHeadModel(config).eval(), tokenizer=tokenizer, device="cpu"
)
clean, corrupted = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[1, 9, 3, 4]])
_, cache = model.run_with_cache(clean)
cells = pd.DataFrame([(0, 1), (1, 3)], columns=["layer", "pos"])


def effect(logits):
    return logits[0, -1, 5] - logits[0, -1, 6]


def patched(**how):
    return patching.get_act_patch_resid_pre(model, corrupted, cache, effect, index_df=cells, **how)


try:
    patched()
except AssertionError as error:
    print(f"index_df alone: AssertionError({str(error)!r})")
else:
    raise SystemExit("index_df alone works now")
whole = patching.get_act_patch_resid_pre(model, corrupted, cache, effect)
some = patched(index_axis_names=None)
assert torch.allclose(some, whole[[0, 1], [1, 3]], atol=1e-6)
print("index_df and index_axis_names=None: the cells that are listed, as in the whole grid")
PYTHON
