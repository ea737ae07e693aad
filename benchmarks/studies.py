"""Throughput of a study beside a loop over TransformerLens's `logit_lens`, on the same questions.

Ours scores whole answers, aliases and a wrong answer at every layer, with all measures and one identity
check for each length; the loop reads the likeliest tokens and the entropy behind each prompt.

    python -m benchmarks.studies --questions 128
"""

import argparse
from pathlib import Path
from statistics import median

from benchmarks.clock import seconds_of
from benchmarks.contenders import Models
from benchmarks.peers import TransformerLens
from layerwise.studies.study import PlannedStudy, read_study

STUDY = Path(__file__).parents[1] / "experiments" / "002_question_types" / "study.toml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=128, help="how many of the study's, evenly spread")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    planned = read_study(STUDY)
    for name in planned.study.models:
        ours, theirs = compare(name, planned, asked.questions, asked.rounds)
        print(
            f"{name}: {asked.questions} questions, layerwise {ours:.1f} s ({asked.questions / ours:.1f} a second), "
            f"TransformerLens's loop {theirs:.1f} s: {theirs / ours:.1f} times",
            flush=True,
        )


def compare(name: str, planned: PlannedStudy, count: int, rounds: int) -> tuple[float, float]:
    """Return the median seconds of a study's shard and of the loop, run in turn."""
    import torch

    models = Models(name, "float32")
    model, peer = models.shared, TransformerLens(models)
    step = max(1, len(planned.questions) // count)
    chosen = planned.questions[::step][:count]
    requests = [planned.request(question) for question in chosen]
    prompts = [torch.tensor([[t.id for t in model.trace(question.prompt).tokens]]) for question in chosen]

    def loop() -> None:
        with torch.no_grad():
            for ids in prompts:
                peer.read(ids, slice(ids.shape[1] - 1, ids.shape[1]))

    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(seconds_of(lambda: model.trace_all(requests, check_each_length=True)))
        theirs.append(seconds_of(loop))
    return median(ours), median(theirs)


if __name__ == "__main__":
    main()
