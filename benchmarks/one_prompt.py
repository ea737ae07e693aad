"""One prompt beside TransformerLens, and the limits that a user notices.

    python benchmarks/one_prompt.py [--rounds 15] [--json FILE]

Each model's settings are timed in alternation in one process, so that the ratios hold on a noisy
machine; medians are reported. Memory is the growth of the process above the loaded model, in a
process of its own (Linux).
"""

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

MODELS = ("smollm2-135m", "gemma-3-270m")
PROMPT = "Question: What is the capital of Germany? Answer:"


def main() -> None:
    """Run everything and print one table per question."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        print(peak_above_loaded_model(arguments.memory_of))
        return
    results = {
        "torch threads": _threads(),
        "help_seconds": time_help(),
        "models": {name: measure(name, arguments.rounds) for name in MODELS},
    }
    report(results)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def measure(name: str, rounds: int) -> dict[str, float]:
    """Return a model's load time, medians of one prompt's times in ms, and peak memory in MB."""
    import torch
    from transformer_lens.tools.analysis import logit_lens

    import layerwise as lw

    lw.load(name)
    started = time.perf_counter()
    model = lw.load(name)
    load_seconds = time.perf_counter() - started
    trace = model.trace(PROMPT, answer=" Berlin")
    ids = torch.tensor([[token.id for token in trace.tokens]])
    bridge, hf = model.bridge, model._loaded.hf

    def forward() -> None:
        with torch.no_grad():
            hf(input_ids=ids, use_cache=False, logits_to_keep=1)

    def transformer_lens() -> None:
        with torch.no_grad():
            logit_lens(bridge, ids, top_k=5)

    times = interleaved(
        {
            "forward": forward,
            "trace": lambda: model.trace(PROMPT),
            "trace_with_answer": lambda: model.trace(PROMPT, answer=" Berlin"),
            "transformer_lens": transformer_lens,
        },
        rounds,
    )
    command = [sys.executable, __file__, "--memory-of", name]
    peak = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return {"load_seconds": load_seconds, **times, "peak_mb_256_tokens": peak}


def interleaved(work: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median time of each piece of work in ms, all run in turn, `rounds` times."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds + 1):
        for name, run in work.items():
            started = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - started))
    return {name: statistics.median(each[1:]) for name, each in times.items()}


def peak_above_loaded_model(name: str) -> float:
    """Return by how many MB a 256-token trace at all positions raises the process's peak memory."""
    import layerwise as lw

    model = lw.load(name)
    model.trace("warm up")
    text = "The quick brown fox jumps over the lazy dog. " * 60
    loaded = model._loaded
    words = loaded.tokenizer.hf.decode(loaded.tokenizer.encode(text, special=False)[:250])
    before = _anonymous_mb()
    with Watch() as watch:
        trace = model.trace(words, positions="all")
    assert 240 <= len(trace.tokens) <= 256
    return watch.peak - before


class Watch(threading.Thread):
    """Notes the largest anonymous memory of this process while a block runs.

    Anonymous memory leaves out the pages of mapped weight files, which the system drops and
    fetches as it likes.
    """

    def __init__(self):
        super().__init__(daemon=True)
        self.peak, self._stop_now = 0.0, threading.Event()

    def run(self) -> None:
        while not self._stop_now.wait(0.005):
            self.peak = max(self.peak, _anonymous_mb())

    def __enter__(self) -> "Watch":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_now.set()
        self.join()


def time_help() -> float:
    """Return the median seconds of `layerwise --help` as a command of its own."""
    times = []
    for _ in range(6):
        started = time.perf_counter()
        command = [str(Path(sys.executable).parent / "layerwise"), "--help"]
        subprocess.run(command, capture_output=True, check=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def report(results: dict) -> None:
    """Print what was measured, with ratios."""
    print(f"layerwise --help: {results['help_seconds']:.2f} s")
    head = ("model", "load", "forward", "trace", "with answer", "TransformerLens", "ratio", "256 tokens: memory")
    print(" | ".join(head))
    for name, m in results["models"].items():
        print(
            f"{name} | {m['load_seconds']:.1f} s | {m['forward']:.0f} ms | {m['trace']:.0f} ms | "
            f"{m['trace_with_answer']:.0f} ms | {m['transformer_lens']:.0f} ms | "
            f"{m['transformer_lens'] / m['trace']:.2f}× | {m['peak_mb_256_tokens']:.0f} MB"
        )


def _anonymous_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    raise SystemExit("Memory is read from /proc/self/status, which this system does not have.")


def _threads() -> int:
    import torch

    return torch.get_num_threads()


if __name__ == "__main__":
    main()
