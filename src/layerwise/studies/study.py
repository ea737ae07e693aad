"""A study as data: which questions are put to which models, and how they are read."""

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from layerwise.errors import ModelError, PromptError, StudyError
from layerwise.lens_spec import LOGIT
from layerwise.lenses.names import lens_name
from layerwise.models.sources.names import resolve
from layerwise.questions.question import Question, missing_spaces, unseen_characters
from layerwise.questions.sets import QuestionSet, open_set
from layerwise.studies.claim_files import Claim, read_claims
from layerwise.studies.study_lenses import StudyLenses, study_lenses
from layerwise.studies.toml import checked, read_toml
from layerwise.tracing.request import Request


def _known(lens: str) -> str:
    try:
        lens_name(lens)
        return lens
    except PromptError as error:
        raise ValueError(str(error)) from error  # so that it is told by its key


_Text = Annotated[str, Field(min_length=1)]
_LensName = Annotated[str, AfterValidator(_known)]
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class OwnQuestion(_Strict):
    """A question of the study's own."""

    id: _Name
    role: Literal["main", "probe"] = "main"
    """*main* questions are shown layer by layer, *probes* by their milestones and output."""
    prompt: _Text
    answers: list[_Text] = []
    """Acceptable answers, the main one first, usually with a leading space."""
    alternatives: list[_Text] = []
    """Wrong answers of the same type."""
    track: list[_Text] = []
    """Texts of single tokens to follow."""

    def question(self) -> Question:
        return Question(
            self.id,
            self.prompt,
            answers=tuple(self.answers),
            alternatives=tuple(self.alternatives),
            track=tuple(self.track),
            role=self.role,
            item=self.id,
        )


class SetChoice(_Strict):
    """A question set, or some of it."""

    name: _Text
    """Of a set that comes with layerwise, or a file beside the study's: .toml, .csv or .jsonl."""
    items: Annotated[int, Field(ge=1)] | None = None
    """At most so many of its items; which ones depends on their names alone."""
    directions: list[_Text] = []
    wordings: list[_Text] = []


class Study(_Strict):
    """A study file, checked."""

    name: _Name
    title: _Text
    description: str = ""
    models: Annotated[list[_Text], Field(min_length=1)]
    lenses: Annotated[list[_LensName], Field(min_length=1)] = [LOGIT.name]
    top_k: Annotated[int, Field(ge=1, le=1000)] = 5
    temperatures: list[Annotated[float, Field(gt=0, allow_inf_nan=False, strict=False)]] = []
    sets: list[SetChoice] = []
    questions: list[OwnQuestion] = []
    claims: _Text | None = None
    """A file beside the study's, with sentences to be judged. Fixed before the run: its content is in the manifest."""

    @model_validator(mode="after")
    def _is_whole(self) -> "Study":
        if not self.questions and not self.sets:
            raise ValueError("there are neither questions nor sets of them")
        for what, names in (
            ("models", self.models),
            ("lenses", self.lenses),
            ("questions", [question.id for question in self.questions]),
            ("sets", [Path(choice.name).stem for choice in self.sets]),
        ):
            repeated = sorted(name for name, count in Counter(names).items() if count > 1)
            if repeated:
                raise ValueError(f"{what}: {', '.join(repeated)} stands there more than once")
        return self


@dataclass(frozen=True)
class PlannedStudy:
    """A study with everything that its file refers to: all that a run depends on, but for the models."""

    study: Study
    questions: tuple[Question, ...]
    sets: dict[str, QuestionSet]
    """Of which the questions are all or some, by name."""
    claims: tuple[Claim, ...] = ()
    lenses: StudyLenses = field(default_factory=StudyLenses)
    """Where its fitted lenses lie."""

    @property
    def name(self) -> str:
        return self.study.name

    @cached_property
    def sum(self) -> str:
        """SHA-256 of everything that is asked for and claimed."""
        content = {
            "study": self.study.model_dump(),
            "questions": [asdict(question) for question in self.questions],
            "claims": [claim.model_dump() for claim in self.claims],
        }
        if self.lenses.sums:
            content["lenses"] = self.lenses.sums
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def hints(self) -> list[str]:
        """What is probably not meant in its questions; nothing depends on it."""
        return [*missing_spaces(self.questions), *unseen_characters(self.questions)]

    def request(self, question: Question) -> Request:
        """Return what to trace for a question."""
        return Request.about(question, top_k=self.study.top_k, temperatures=tuple(self.study.temperatures))


def is_study(path: Path) -> bool:
    """Return whether a file is a study's: TOML that names models, which a question set does not."""
    try:
        return path.suffix.lower() == ".toml" and "models" in read_toml(path, "study")
    except StudyError:  # whoever reads it says what is wrong with it
        return False


def read_study(path: Path, models: list[str] | None = None) -> PlannedStudy:
    """Return the study that a TOML file describes, put to other models if `models` are given.

    Raises:
        StudyError: the file cannot be read, is not TOML, or has an unknown key, a wrong type or a
            missing field; the message gives the key's path and what was expected.
        QuestionError: one of its question sets cannot be used.
    """
    data = read_toml(path, "study")
    planned = plan_study(data | ({"models": models} if models else {}), str(path), path.parent)
    _expect_different_sets(planned, path)
    _expect_different_models(planned, path)
    return planned


def _expect_different_sets(planned: PlannedStudy, path: Path) -> None:
    """Refuse two sets that call themselves the same: their questions would be counted as one set's."""
    first: dict[str, str] = {}
    for chosen, found in planned.sets.items():
        other = first.setdefault(found.name, chosen)
        if other != chosen:
            raise StudyError(
                f"{path}: the sets {other} and {chosen} are both called {found.name!r}, so their questions could not "
                "be told apart. A TOML file's set has the name that stands in it, any other its file's: rename one."
            )


def _expect_different_models(planned: PlannedStudy, path: Path) -> None:
    """Refuse two names of one model: it would be compared with itself, and counted twice."""
    first: dict[tuple[str, str, bool], str] = {}
    for name in planned.study.models:
        try:
            source = resolve(name)
        except ModelError:  # told where it is loaded, and the others go on
            continue
        other = first.setdefault((source.kind, source.location, source.random), name)
        if other != name:
            raise StudyError(f"{path}: models: {other} and {name} are the same model. Leave one of them out.")


def plan_study(data: dict[str, Any], where: str, folder: Path = Path()) -> PlannedStudy:
    """Return a study from plain values; files it names are looked for in `folder`.

    Raises StudyError, naming `where` and the key's path, and QuestionError.
    """
    study = checked(Study, data, where, "study that can be run")
    lenses = study_lenses(study.lenses, study.models, folder, where)
    study = study.model_copy(update={"lenses": lenses.shown})
    questions, sets = [own.question() for own in study.questions], {}
    for choice in study.sets:
        chosen = sets[choice.name] = open_set(choice.name, folder)
        questions += chosen.some(items=choice.items, directions=choice.directions, wordings=choice.wordings)
    repeated = [name for name, count in Counter(question.id for question in questions).items() if count > 1]
    if repeated:
        raise StudyError(f"{where}: two questions are called {repeated[0]!r}. Rename one, or its set.")
    claims = read_claims(folder / study.claims) if study.claims else ()
    for claim in claims:
        _expect_all_there(claim, questions)
    return PlannedStudy(study, tuple(questions), sets, claims, lenses)


def _expect_all_there(claim: Claim, questions: list[Question]) -> None:
    """Stop before the run at a claim about questions that the study does not ask."""
    for what, named, there in (
        ("set", claim.sets, {question.set for question in questions} - {""}),
        ("direction", claim.directions, {question.direction for question in questions} - {""}),
    ):
        if unknown := [name for name in named if name not in there]:
            raise StudyError(
                f"The claim {claim.id} is about the {what} {unknown[0]!r}, which the study does not ask; it asks "
                f"{', '.join(sorted(there)) or 'none'}. Nothing was run."
            )
