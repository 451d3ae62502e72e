"""What a report page is made of: typed, frozen, and complete before anything is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from medblip.errors import UsageError
from medblip.evaluation.metrics import ClassificationMetrics, PairedDifference, ReliabilityBin

if TYPE_CHECKING:  # it is made by what makes this page's other numbers
    from medblip.evaluation.vqa_evaluate import QuestionEvaluation

Withheld = Literal["image", "record", ""]


@dataclass(frozen=True)
class Comparison:
    """Something set beside the full model on the same test rows.

    Attributes:
        title: short name, e.g. ``Another subject's image``.
        explanation: one sentence on what it is or sees.
        metrics: its own numbers.
        against_full: its accuracy minus the full model's, paired by row.
        withholds: for a control, which input the model did not get (or got from another subject).
    """

    title: str
    explanation: str
    metrics: ClassificationMetrics
    against_full: PairedDifference
    withholds: Withheld = ""


@dataclass(frozen=True)
class GroupResult:
    """The full model on one part of the test data.

    Attributes:
        cohort: name of the cohort.
        site: name of the site, or empty for the whole cohort.
        zero_shot: True where training saw no subject of this cohort.
        metrics: the numbers of this part.
    """

    cohort: str
    site: str
    zero_shot: bool
    metrics: ClassificationMetrics


@dataclass(frozen=True)
class PaperSubset:
    """One of the paper's named subsets, answered over its own labels.

    Attributes:
        name: as in the paper, e.g. ``ADNI-3x200``.
        unit: ``subject``, one scan of each, or ``image``, all scans.
        labels: its labels; only their answers were candidates.
        wanted: scans of each label in the paper.
        drawn: scans of each label here.
        available: scans to draw from, by label.
        full: the full model's numbers; None where nothing could be drawn.
        controls: the model with inputs withheld.
    """

    name: str
    unit: Literal["subject", "image"]
    labels: tuple[str, ...]
    wanted: int
    drawn: int
    available: Mapping[str, int]
    full: ClassificationMetrics | None
    controls: tuple[Comparison, ...] = ()

    @property
    def size(self) -> str:
        """What it holds, and that it is smaller than the paper's where it is."""
        kinds = len(self.labels)
        text = f"{kinds} x {self.drawn} scans"
        if self.drawn >= self.wanted:
            return text
        there = ", ".join(f"{label} {count}" for label, count in self.available.items())
        return f"{text}; in the paper {kinds} x {self.wanted} (here to draw from: {there})"


@dataclass(frozen=True)
class Calibration:
    """How probabilities were calibrated, and how well that held.

    Attributes:
        temperature: what the candidates' log-probabilities were divided by; 1 changes nothing.
        fitted_on: e.g. ``120 validation subjects``; empty if nothing was fitted.
        bins: reliability on the test set, as reported.
        raw_bins: the same before calibration; empty if nothing was fitted.
        raw_ece: expected calibration error before calibration, as a fraction.
    """

    temperature: float
    fitted_on: str
    bins: Sequence[ReliabilityBin]
    raw_bins: Sequence[ReliabilityBin] = ()
    raw_ece: float | None = None


@dataclass(frozen=True)
class Case:
    """One test scan, its question, and the answer it got.

    Attributes:
        participant_id, session_id: the study's pseudonymous ones.
        cohort, site: where it comes from.
        truth, answer: labels; ``answer_text`` is the model's sentence.
        probabilities: by label, summing to one.
        question: as asked.
        record: record text; printed only for simulated data.
        slices_png: three planes through the scan, as PNG bytes; None leaves the picture out.
    """

    participant_id: str
    session_id: str
    cohort: str
    site: str
    truth: str
    answer: str
    answer_text: str
    probabilities: Mapping[str, float]
    question: str
    record: str = ""
    slices_png: bytes | None = None

    @property
    def right(self) -> bool:
        return self.truth == self.answer


@dataclass(frozen=True)
class SplitCount:
    """How much data one part of the study holds: subjects, sessions, and sessions by label."""

    split: str
    cohort: str
    subjects: int
    sessions: int
    by_label: Mapping[str, int]


@dataclass(frozen=True)
class RunFacts:
    """What was run, so that someone else can run it again.

    Attributes:
        commands: shell lines that make this page again, in order.
        recipe_yaml: the recipe as resolved.
        environment: versions, device, hashes, commit: name -> value.
        seeds: name -> seed.
        timings: stage -> seconds.
        counts: data by split and cohort.
    """

    commands: Sequence[str]
    recipe_yaml: str
    environment: Mapping[str, str]
    seeds: Mapping[str, int]
    timings: Mapping[str, float]
    counts: Sequence[SplitCount]


@dataclass(frozen=True)
class ReportContent:
    """Everything on the page.

    Attributes:
        title: e.g. ``MedBLIP on SIM-A``.
        subtitle: which model, which study.
        created: date, ISO 8601.
        question: what was asked of every scan.
        simulated: puts up the simulated-data banner.
        show_records: print record text in the cases; only simulated records may be printed.
        full: the full model on the test set.
        calibration, controls, simple_models, groups, cases, run: see their classes.
        subsets: the paper's named subsets, where the study has their cohorts.
        questions: what was answered to the study's questions, where they were asked.
        training_rows: lines of ``metrics.jsonl``, see ``figures.training_curves``.
        limitations: paragraphs beside the standing ones.
    """

    title: str
    subtitle: str
    created: str
    question: str
    simulated: bool
    show_records: bool
    full: ClassificationMetrics
    calibration: Calibration
    controls: Sequence[Comparison]
    simple_models: Sequence[Comparison]
    groups: Sequence[GroupResult]
    cases: Sequence[Case]
    run: RunFacts
    subsets: Sequence[PaperSubset] = ()
    questions: QuestionEvaluation | None = None
    training_rows: Sequence[Mapping[str, Any]] = ()
    limitations: Sequence[str] = field(default=())

    def __post_init__(self) -> None:
        if self.show_records and not self.simulated:
            raise UsageError(
                "report",
                "show_records is set for data that is not simulated; "
                "expected record text of simulated subjects only",
                "set show_records to False",
                code="records-in-report",
            )
