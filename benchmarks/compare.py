"""All contenders on the same work, in turn in one process, so that the ratios hold on a busy machine."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from benchmarks import inside
from benchmarks.clock import seconds_of
from benchmarks.contenders import Contender, Layerwise, Models, NotOfferedError, Task
from benchmarks.limits import LIMITS
from benchmarks.peers import PEERS
from benchmarks.progress import tell
from benchmarks.questions import ONE
from benchmarks.settings import Setting, Work

OURS = "layerwise"

_LONG_SECONDS = 60
"""A run that takes so long is not repeated: the machine's moods average out within it."""


@dataclass(frozen=True)
class Timing:
    """How long a contender took for a setting, or why there is no time."""

    model: str
    setting: str
    contender: str
    seconds: tuple[float, ...] = ()
    """One per round, for the part that was run."""
    scale: float = 1.0
    """What was asked for, divided by the part that was run."""
    reason: str = ""

    @property
    def median_seconds(self) -> float:
        """For all that was asked for."""
        return self.scale * statistics.median(self.seconds)

    def times(self, other: "Timing") -> float:
        """Return how many times as long as the other this took: the median over the rounds that both ran."""
        pairs = zip(self.seconds, other.seconds, strict=False)
        return self.scale / other.scale * statistics.median(mine / theirs for mine, theirs in pairs)


def compare(model: str, dtype: str, settings: Sequence[Setting], rounds: int, seconds: float) -> list[Timing]:
    """Return every contender's times in settings of one precision.

    Each runs `rounds` times, or as often as `seconds` allow, but at least twice.
    """
    models = Models(model, dtype)
    contenders: dict[str, Contender | str] = {OURS: _warm(Layerwise(models))}
    contenders |= {name: _warm(limit(models)) for name, limit in LIMITS.items()}
    contenders |= {name: _warm_or_reason(name, models) for name in PEERS}
    timings = []
    for setting in settings:
        tell(f"{model}: {setting.title}")
        work = setting.work(inside.hf_tokenizer(models.shared))
        tasks = {name: _task_or_reason(contender, work) for name, contender in contenders.items()}
        times = interleaved({name: task for name, task in tasks.items() if isinstance(task, Task)}, rounds, seconds)
        timings += [
            Timing(model, setting.name, name, tuple(times[name]), task.scale)
            if isinstance(task, Task)
            else Timing(model, setting.name, name, reason=task)
            for name, task in tasks.items()
        ]
    return timings


def interleaved(tasks: Mapping[str, Task], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Return each task's times. Nobody runs more often than we do: those rounds would have nothing to compare with."""
    times: dict[str, list[float]] = {name: [_timed(name, task)] for name, task in tasks.items()}
    wanted = {
        name: min(rounds, max(1 if first > _LONG_SECONDS else 2, round(seconds / first)))
        for name, (first,) in times.items()
    }
    for done in range(1, wanted[OURS]):
        for name, task in tasks.items():
            if done < wanted[name]:
                times[name].append(_timed(name, task))
    return times


def _timed(name: str, task: Task) -> float:
    took = seconds_of(task.run)
    if took > 1:
        tell(f"    {name} {took:.1f} s")
    return took


def _warm(contender: Contender) -> Contender:
    contender.on(Work([ONE], "last")).run()
    return contender


def _warm_or_reason(name: str, models: Models) -> Contender | str:
    """Return a peer that has read one prompt, or why it cannot."""
    make, package = PEERS[name]
    try:
        version(package)
        return _warm(make(models))
    except PackageNotFoundError:
        return "not installed"
    except Exception as error:  # whatever other tools raise
        return f"does not run: {type(error).__name__}: {str(error).strip().splitlines()[0]}"


def _task_or_reason(contender: Contender | str, work: Work) -> Task | str:
    if isinstance(contender, str):
        return contender
    try:
        return contender.on(work)
    except NotOfferedError as error:
        return str(error)
