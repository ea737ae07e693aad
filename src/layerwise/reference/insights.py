"""Claims published with the seed experiment that did not hold, and what a run shows instead."""

from collections.abc import Iterator
from dataclasses import dataclass

from layerwise.reference import published as pub
from layerwise.reference.figure_judge import number
from layerwise.reference.findings import Finding
from layerwise.reference.measured import Layer, Listed, Measured

TO_CITY = "Germany's capital is"
TO_COUNTRY = "Berlin is the capital of"
TO_CITY_LATER = "Germany has its capital at"


@dataclass(frozen=True)
class Insight:
    """A published claim about all models, and why it is known to be wrong."""

    claim: str
    source: str
    """The published file that it was drawn from."""
    said: str
    """The claim in its own numbers, in short."""
    why: str


CRYSTALLISES = Insight(
    claim="answers crystallise at 80–85 % of depth",
    source=pub.SEED,
    said="80–85 % of depth",
    why=(
        "a sampling artefact: of the seven layers that were read, 5n/6 was the only one between two thirds "
        "and the end. At every layer, Berlin first has rank 1 at 69 % (Llama, Mistral), 78 % (Qwen) and 81 % "
        "(Gemma); p > .95 comes at 78, 81, 81 and 83 %, Gemma's by a lens without its soft-cap"
    ),
)
ASYMMETRY = Insight(
    claim="directional asymmetry: city → country is more certain than country → city",
    source=pub.SEED_PROBES,
    said=f"“{TO_COUNTRY}” is more certain of Germany than “{TO_CITY}” of Berlin",
    why=(
        "wording told as direction: the two prompts differ in both. After "
        f"“{TO_CITY_LATER}” the same models give Berlin .73 (Qwen), .91 (Llama), .88 (Mistral) and .80 "
        "(Gemma), about what they give Germany the other way round"
    ),
)


def published_insights() -> tuple[Insight, ...]:
    """Return the claims that were published with the seed experiment and are known to be wrong."""
    return CRYSTALLISES, ASYMMETRY


def insight_findings(run: Measured, name: str) -> Iterator[Finding]:
    """Yield each claim with what the run shows, for the four models that it was made about."""
    if not pub.rows(pub.SEED, name):
        return
    lens = run.lens(pub.SEED_PROMPT, " Berlin")
    yield _finding(CRYSTALLISES, _depths(lens, run.n_layers))
    yield _finding(ASYMMETRY, _directions(run))


def _finding(insight: Insight, ours: str | None) -> Finding:
    return Finding(insight.claim, insight.source, insight.said, ours, "", "known wrong", insight.why)


def _depths(lens: dict[int, Layer], n: int) -> str | None:
    """Return at which depth Berlin first has rank 1, and p > .95, in words."""
    if not lens:
        return None
    top = next((k for k in sorted(lens) if lens[k].lead_of(" Berlin") > 0), None)
    sure = next((k for k in sorted(lens) if lens[k].prob_of(" Berlin") > 0.95), None)
    said = [
        f"{what} {'never' if k is None else f'at layer {k} of {n} ({k / n:.0%})'}"
        for what, k in (("rank 1 first", top), ("p > .95 first", sure))
    ]
    return ", ".join(said)


def _directions(run: Measured) -> str | None:
    """Return the probability of the answer in each direction and wording that the run has, in words."""
    asked = ((TO_COUNTRY, " Germany"), (TO_CITY, " Berlin"), (TO_CITY_LATER, " Berlin"))
    said = [
        f"{answer.strip()} {_share(output, answer)} after “{prompt}”"
        for prompt, answer in asked
        if (output := run.output(prompt)) is not None
    ]
    return ", ".join(said) or None


def _share(output: Listed, answer: str) -> str:
    found = output.find(answer, 1.0, spaces_lost=True)
    return number(found.prob) if found else f"below {number(output.floor)}"
