#!/usr/bin/env bash
# tuned-lens 0.2.0 asks for torchdata>=0.6.0 without an upper bound, and trains with `torchdata.dataloader2`, which
# torchdata 0.11.0, what pip takes for that today, no longer has: the command `tuned-lens` ends before it reads its
# arguments, so no lens can be trained with it as it is installed. Its lenses (`tuned_lens.nn.lenses`) are imported all
# the same.
#
# Prints how the command ends. Ends with 0 as long as that is so, with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    tuned-lens==0.2.0 torchdata==0.11.0 torch==2.13.0 transformers==5.23.0 datasets==5.2.0
cd "$folder"
export HF_HUB_OFFLINE=1
ended=0
said=$(venv/bin/tuned-lens --help 2>&1) || ended=$?
imported=$(venv/bin/python -c 'import tuned_lens.nn.lenses as lenses; print(lenses.TunedLens.__name__)' 2>/dev/null)
last=$(tail -n 1 <<<"$said")
echo "tuned-lens 0.2.0 with torchdata 0.11.0: tuned-lens --help ends with $ended: ${last%% (*}; imported: $imported"
[[ $ended != 0 && $last == *"'dataloader2' from 'torchdata'"* && $imported == TunedLens ]]
