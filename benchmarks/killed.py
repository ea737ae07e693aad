"""Runs killed at any moment (SIGKILL): what do they leave, and does resuming complete them?

One process imports everything, and every run is a fork of it, so that a kill costs no imports and
falls into the run itself: loading a toy model, reading, writing.
"""

import argparse
import collections
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from layerwise.execution import recording, tasks
from layerwise.files import sha256_of
from layerwise.studies.study import PlannedStudy, plan_study

_QUESTIONS, _PER_SHARD = 12, 2
_LENSES = ("logit", "raw")
SHARDS = _QUESTIONS // _PER_SHARD * len(_LENSES)
"""Of the whole run."""


class Runs:
    """Starts runs of the toy study, each a process of its own."""

    def __init__(self, server: "subprocess.Popen[str]") -> None:
        self._server, self._last = server, 0
        self._listen()  # until it is ready

    def start(self, folder: Path) -> int:
        """Start or resume a run and return its process id, which stays its own until `wait`."""
        self._say(str(folder))
        self._last = int(self._listen())
        return self._last

    def wait(self, process: int | None = None) -> int:
        """Return how a run ended, by default the last one: its exit code, or minus the signal that ended it."""
        self._say(f"wait {process or self._last}")
        return int(self._listen())

    def complete(self, folder: Path) -> float:
        """Run to the end and return the seconds it took."""
        started = time.perf_counter()
        self.start(folder)
        if code := self.wait():
            raise RuntimeError(f"the run in {folder} ended with {code}")
        return time.perf_counter() - started

    def end_after(self, folder: Path, seconds: float, how: signal.Signals = signal.SIGKILL) -> int:
        """Start or resume a run, send it a signal after some time, and return how it ended."""
        process = self.start(folder)
        time.sleep(seconds)
        os.kill(process, how)
        return self.wait()

    def _say(self, line: str) -> None:
        assert self._server.stdin
        print(line, file=self._server.stdin, flush=True)

    def _listen(self) -> str:
        assert self._server.stdout
        if not (line := self._server.stdout.readline()):
            raise RuntimeError("the process that starts runs has ended")
        return line.strip()


@contextmanager
def runs() -> Iterator[Runs]:
    """Yield what starts runs; its process ends with the block."""
    command = [sys.executable, "-m", "benchmarks.killed", "--serve"]
    environment = os.environ | {"TOKENIZERS_PARALLELISM": "false"}
    root = Path(__file__).parents[1]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root, env=environment
    ) as server:
        try:
            yield Runs(server)
        finally:
            server.kill()


def state_of(folder: Path) -> str:
    """Return what a run has left, in words."""
    if not (folder / "manifest.json").exists():
        return "no manifest yet"
    manifest = json.loads((folder / "manifest.json").read_text())
    if manifest["status"] == "complete":
        return "complete"
    return "no shard yet" if not manifest["shards"] else f"{len(manifest['shards'])} of {SHARDS} shards"


def unlisted(folder: Path) -> list[str]:
    """Return whole shards that the manifest does not list: the run ended between the two writes."""
    if not (folder / "manifest.json").exists():
        return []
    listed = {shard["key"] for shard in json.loads((folder / "manifest.json").read_text())["shards"]}
    return [file.name for file in (folder / "shards").glob("[!.]*.parquet") if file.stem not in listed]


def scratch(folder: Path) -> list[str]:
    """Return what is left of writing."""
    return [path.name for path in folder.rglob(".*")]


def damaged(folder: Path) -> list[str]:
    """Return shards that the manifest lists and that are not what it says."""
    if not (folder / "manifest.json").exists():
        return []
    shards = json.loads((folder / "manifest.json").read_text())["shards"]
    files = {folder / "shards" / f"{shard['key']}.parquet": shard["sha256"] for shard in shards}
    return [file.name for file, expected in files.items() if not file.exists() or sha256_of(file) != expected]


def content(folder: Path) -> dict[str, Any]:
    """Return everything that a run consists of, but for the times of day."""
    manifest = json.loads((folder / "manifest.json").read_text())
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return files | {"manifest.json": {name: manifest[name] for name in manifest.keys() - {"created", "updated"}}}


def main() -> None:
    """Kill runs, resume them, and say what was found."""
    parser = argparse.ArgumentParser("python -m benchmarks.killed", description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        _serve()
        return
    with tempfile.TemporaryDirectory() as scratch_folder, runs() as starter:
        _kill(starter, Path(scratch_folder), arguments.kills, random.Random(arguments.seed))


def _kill(starter: Runs, folder: Path, kills: int, draw: random.Random) -> None:
    whole = folder / "whole"
    starter.complete(whole)
    seconds = min(starter.complete(folder / f"timed-{again}") for again in range(3))
    states, left = collections.Counter(), collections.Counter()
    landed = completed = wrong = 0
    while landed < kills:
        run = folder / f"run-{completed}"
        for _ in range(2):  # the second falls on the resumed run
            if starter.end_after(run, draw.uniform(0, seconds)) != -signal.SIGKILL:
                break  # it had ended before
            landed += 1
            states[state_of(run)] += 1
            left["a damaged shard in the manifest"] += bool(damaged(run))
            left["a whole shard that the manifest lacks"] += bool(unlisted(run))
            left["scratch files"] += bool(scratch(run))
        starter.complete(run)
        completed += 1
        wrong += content(run) != content(whole)
        left["scratch files after the resume"] += bool(scratch(run))
    print(f"{landed} kills of a run of {seconds:.2f} s and {SHARDS} shards, about half of them while it was resumed")
    for state, count in sorted(states.items(), key=_in_order):
        print(f"{count:6}  {state}")
    print("of these, with")
    for what, count in left.items():
        print(f"{count:6}  {what}")
    print(f"{wrong} of {completed} completed runs differ from one that nothing interrupted")
    sys.exit(wrong > 0)


def _in_order(state: tuple[str, int]) -> tuple[int, int]:
    found = re.match(r"\d+", state[0])
    order = ["no manifest yet", "no shard yet", "", "complete"]
    return (order.index("" if found else state[0]), int(found.group()) if found else 0)


def _serve() -> None:
    """Start a run for every line with a folder, and wait for it where told to."""
    import torch

    from layerwise import compiled

    # A fork has none of its parent's threads, so there may be none that it waits for.
    torch.set_num_threads(1)
    compiled.available = lambda: False
    tasks._QUESTIONS_PER_SHARD = _PER_SHARD
    with tempfile.TemporaryDirectory() as folder:
        planned, load = _toy(Path(folder))
        recording.record(planned, Path(folder) / "run", load=load)  # everything is imported and set up by now
        print("ready", flush=True)
        for line in sys.stdin:
            if line.startswith("wait "):
                print(os.waitstatus_to_exitcode(os.waitpid(int(line.split()[1]), 0)[1]), flush=True)
                continue
            process = os.fork()
            if process == 0:
                os._exit(_record(planned, Path(line.strip()), load))
            print(process, flush=True)


def _toy(folder: Path) -> tuple[PlannedStudy, Callable[[str], Any]]:
    import transformers

    import layerwise as lw
    from benchmarks.tiny import byte_tokenizer, save, tiny_config, tiny_model

    save(tiny_model(tiny_config(transformers.Qwen3Config)), byte_tokenizer(), folder / "toy")
    study = {
        "name": "killed",
        "title": "Killed",
        "models": [str(folder / "toy")],
        "lenses": list(_LENSES),
        "questions": [
            {"id": f"q{index}", "prompt": f"{index} and {index} make", "answers": [f" {2 * index}"]}
            for index in range(_QUESTIONS)
        ],
    }
    return plan_study(study, "toy"), lambda name: lw.load(name, device="cpu")


def _record(planned: PlannedStudy, folder: Path, load: Callable[[str], Any]) -> int:
    # Where a shell started this in the background, Ctrl-C is ignored otherwise.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        recording.record(planned, folder, load=load, resume=True)
    except KeyboardInterrupt:
        return 130
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    main()
