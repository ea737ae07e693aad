"""Models larger than their memory, and GGUF files where they are: time, memory and bytes read.

Needs 17 GB of disk for a checkpoint with the shapes of Qwen3-8B, which is written once. Each
measurement runs in a process of its own, whose peak memory is the system's own figure (Linux).
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from benchmarks.large import measures
from benchmarks.large.checkpoint import write_checkpoint
from benchmarks.large.page import refresh, tables
from benchmarks.machine import describe
from benchmarks.processes import in_own_process
from benchmarks.progress import tell

_EXAMPLE = "example: python -m benchmarks.large --folder /data/qwen3-8b-shapes --without accelerate"


def main() -> None:
    """Measure, show, and keep what was found."""
    parser = argparse.ArgumentParser("python -m benchmarks.large", description=__doc__, epilog=_EXAMPLE)
    parser.add_argument("--folder", type=Path, default=Path("runs/qwen3-8b-shapes"), help="of the checkpoint")
    parser.add_argument("--memory", default="4GB", help="budget for the large checkpoint (4GB)")
    parser.add_argument("--without", default="", metavar="NAMES", help="leave out: accelerate, many, small")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything here")
    parser.add_argument("--refresh", action="store_true", help="rewrite the measured part of docs/performance.md")
    asked = parser.parse_args()
    left_out = asked.without.split(",")
    tell("the checkpoint")
    in_own_process(write_checkpoint, asked.folder)
    found = measures.Large(machine=describe(), memory=asked.memory)
    tell("limits: reading once, computing with weights in memory")
    found.limits = in_own_process(measures.limits, asked.folder, asked.memory)
    tell(f"layerwise, {asked.memory}")
    found.few = in_own_process(measures.streamed, asked.folder, asked.memory, 8)
    if "accelerate" not in left_out:
        tell("transformers with accelerate's disk offload")
        found.offload = in_own_process(measures.offloaded, asked.folder, asked.memory)
    if "many" not in left_out:
        tell("256 prompts of 4 tokens in one sweep")
        found.many = in_own_process(measures.streamed, asked.folder, asked.memory, 256, 4, repeat=False)
    if "small" not in left_out:
        for name in measures.SMALL:
            tell(f"{name}: from GGUF, and streamed against resident")
            found.gguf.append(in_own_process(measures.gguf_peak, name))
            found.fitting.append(in_own_process(measures.streamed_against_resident, name))
    for table in tables(found):
        Console().print(table.as_rich())
    if asked.json:
        asked.json.write_text(json.dumps(asdict(found), indent=2) + "\n")
    if asked.refresh:
        refresh(found)


if __name__ == "__main__":
    main()
