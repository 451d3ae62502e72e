"""What a model card says, as data: kept beside the model in ``card.json``, without identifiers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from medblip import __version__
from medblip.errors import InputError
from medblip.model import MedBlipConfig
from medblip.model.bases import EMBEDDED
from medblip.model.configuration_medblip import LOSSES
from medblip.recipe import Recipe, StageSection
from medblip.storage import write_json
from medblip.study.labels import QUESTION
from medblip.study.record import RecordForm, Wording
from medblip.study.splits import SPLITS
from medblip.study.study import Study
from medblip.training.comparing import compares_scans
from medblip.training.train_share import training_examples

CARD_FACTS_FILE = "card.json"
FULL = "full"  # the condition of an evaluation that is the model as it is used


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BaseFact(_Strict):
    """A model that this one is made from.

    Attributes:
        role: ``vision``, ``language``, or ``MedQFormer at the start``.
        source: ``embedded:...``, a hub id, or the name of a folder, never the way to it.
        revision: of a hub id.
        hub: whether ``source`` is a hub id.
    """

    role: str
    source: str
    revision: str | None = None
    hub: bool = False

    @classmethod
    def of(cls, role: str, source: str, revision: str | None = None) -> Self:
        if source in EMBEDDED:
            return cls(role=role, source=source)
        if Path(source).is_dir() or not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
            return cls(role=role, source=Path(source).name)
        return cls(role=role, source=source, revision=revision, hub=True)


class SplitFact(_Strict):
    """How much data one part of the study holds: subjects, sessions, and sessions by label."""

    split: str
    cohort: str
    subjects: int
    sessions: int
    by_label: dict[str, int]


class StageFact(_Strict):
    """One stage of training.

    Attributes:
        losses: weights of the three losses.
        questions: what was asked, as in the recipe.
    """

    name: str
    steps: int
    batch_size: int
    learning_rate: float
    losses: dict[str, float]
    questions: str = "diagnosis"


class TrainingFacts(_Strict):
    """How it was trained.

    Attributes:
        environment: versions, device, precision.
        record_fields, record_wording, record_units: what the record text says, and how.
        record_without_label_defining: fields that defined a session's label are left out.
        stages: those with at least one step.
        kept: stage and step of the model that was kept, and what validation measured there.
        compared: whether a training session's question showed an earlier scan too; None in cards
            from before that was written down.
    """

    recipe: str
    seed: int
    environment: dict[str, str]
    record_fields: tuple[str, ...]
    record_wording: Wording = "short"
    record_units: bool = False
    record_without_label_defining: bool = False
    stages: tuple[StageFact, ...]
    kept: dict[str, str | int | float]
    compared: bool | None = None

    @property
    def record_form(self) -> RecordForm:
        return RecordForm(self.record_fields, self.record_wording, self.record_units)

    @property
    def asked_questions(self) -> bool:
        """Whether a stage asked the questions of the study."""
        return any(stage.questions != "diagnosis" for stage in self.stages)

    @property
    def compared_scans(self) -> bool | None:
        """Whether some prompts showed two scans; None where that is not known."""
        return self.compared if self.asked_questions else bool(self.compared)


class Number(_Strict):
    """A measured value and its interval over subjects; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


class ResultFact(_Strict):
    """One row of the table of results; ``kind`` is ``full``, ``control``, ``simple`` or
    ``zero_shot``, ``minus_full`` the accuracy minus the full model's."""

    title: str
    kind: str
    scans: int
    subjects: int
    accuracy: Number
    balanced_accuracy: Number
    macro_auc: Number
    macro_f1: Number
    ece: float | None
    minus_full: Number | None = None


class ResultFacts(_Strict):
    """What ``evaluate`` measured, and when."""

    created: str
    confidence: float
    temperature: float
    rows: tuple[ResultFact, ...]

    @classmethod
    def of(cls, results: Mapping[str, Any]) -> Self:
        """From ``results.json``."""
        rows = [
            _result(entry, "full" if name == FULL else "control")
            for name, entry in results["conditions"].items()
        ]
        rows += [_result(entry, "simple") for entry in results["simple_models"].values()]
        if results["zero_shot"] is not None:
            zero_shot = {"title": "Image and record, cohorts never trained on"}
            rows.append(_result(zero_shot | {"metrics": results["zero_shot"]}, "zero_shot"))
        interval = results["conditions"][FULL]["metrics"]["interval"]
        return cls(
            created=results["created"],
            confidence=interval["confidence"],
            temperature=results["temperature"],
            rows=tuple(rows),
        )


def _result(entry: Mapping[str, Any], kind: str) -> ResultFact:
    metrics = entry["metrics"]
    numbers = ("accuracy", "balanced_accuracy", "macro_auc", "macro_f1")
    return ResultFact(
        title=entry["title"],
        kind=kind,
        scans=metrics["n_rows"],
        subjects=metrics["n_subjects"],
        ece=metrics["ece"],
        minus_full=entry["accuracy_minus_full"] if kind in ("control", "simple") else None,
        **{name: metrics[name] for name in numbers},
    )


class CardFacts(_Strict):
    """Everything on a model card that does not lie in the weights.

    Attributes:
        created, medblip: date and version of the program that trained it.
        lora: rank of LoRA; None for a language model that was left as it is.
        merged: LoRA was added into the language model's own weights.
        simulated: whether the study holds simulated cohorts; None where that is not known.
        data: the study by split and cohort; empty where it is not known.
        training, results: None where they are not known.
    """

    version: int = 1
    created: str
    medblip: str
    question: str
    bases: tuple[BaseFact, ...]
    volume_size: int
    volume_patch_size: int
    lora: int | None
    merged: bool = False
    simulated: bool | None = None
    data: tuple[SplitFact, ...] = ()
    training: TrainingFacts | None = None
    results: ResultFacts | None = None

    def write(self, checkpoint: Path) -> None:
        write_json(checkpoint / CARD_FACTS_FILE, self.model_dump(mode="json"))

    @classmethod
    def of_checkpoint(cls, checkpoint: Path) -> Self:
        """From ``card.json`` of a checkpoint folder; what its configuration tells if it has none.

        Raises:
            InputError: the file is damaged.
        """
        file = checkpoint / CARD_FACTS_FILE
        if not file.exists():
            return cls.of_config(MedBlipConfig.from_pretrained(checkpoint))
        try:
            return cls.model_validate_json(file.read_text(encoding="utf-8"))
        except (ValidationError, UnicodeDecodeError) as error:
            raise InputError(
                f"{checkpoint.name}/{CARD_FACTS_FILE}",
                f"holds no facts for a model card ({type(error).__name__})",
                "delete it; `medblip evaluate` of the run writes a new one",
                code="bad-card",
            ) from error

    @classmethod
    def of_config(cls, config: MedBlipConfig) -> Self:
        """What a configuration alone tells."""
        recorded = {"vision": config.vision_base, "language": config.language_base}
        return cls(
            created=datetime.now(UTC).date().isoformat(),
            medblip=__version__,
            question=QUESTION,
            bases=tuple(
                BaseFact.of(role, base["source"], base.get("revision"))
                for role, base in recorded.items()
                if base
            ),
            volume_size=config.volume_size,
            volume_patch_size=config.volume_patch_size,
            lora=None if config.lora is None else config.lora.get("r", 8),
        )


def facts_of_training(
    recipe: Recipe, study: Study, environment: Mapping[str, Any], kept: Mapping[str, Any]
) -> CardFacts:
    """The facts of a run at its end.

    Args:
        environment: as in ``environment.json``.
        kept: as in ``best.json``: stage and step of the kept model.
    """
    section = recipe.model
    bases = [
        BaseFact.of("vision", section.vision, section.vision_revision),
        BaseFact.of("language", section.language, section.language_revision),
    ]
    if section.qformer_init:
        bases.append(BaseFact.of("MedQFormer at the start", section.qformer_init))
    sessions = len(training_examples(study, recipe))
    stages = {"align": recipe.align.resolved(sessions), "tune": recipe.tune.resolved(sessions)}
    return CardFacts(
        created=datetime.now(UTC).date().isoformat(),
        medblip=__version__,
        question=QUESTION,
        bases=tuple(bases),
        volume_size=section.volume_size,
        volume_patch_size=section.volume_patch_size,
        lora=None if section.lora is None else section.lora.r,
        simulated=study.info.simulated,
        data=split_facts(study),
        training=TrainingFacts(
            recipe=recipe.name,
            seed=recipe.seed,
            environment={name: str(value) for name, value in environment.items()},
            record_fields=recipe.record.fields,
            record_wording=recipe.record.wording,
            record_units=recipe.record.units,
            record_without_label_defining=study.info.drop_label_defining_fields,
            stages=tuple(_stage(name, stage) for name, stage in stages.items() if stage.steps),
            kept=dict(kept),
            compared=compares_scans(recipe, study),
        ),
    )


def _stage(name: str, stage: StageSection) -> StageFact:
    return StageFact(
        name=name,
        steps=stage.steps,
        batch_size=stage.batch_size,
        learning_rate=stage.learning_rate,
        losses={loss: getattr(stage, loss) for loss in LOSSES},
        questions=stage.questions,
    )


def split_facts(study: Study) -> tuple[SplitFact, ...]:
    """Subjects, sessions and labels of a study by split and cohort."""
    facts = []
    for split in SPLITS:
        examples = study.examples(split)
        for cohort in sorted({e.cohort for e in examples}):
            rows = [e for e in examples if e.cohort == cohort]
            facts.append(
                SplitFact(
                    split=split,
                    cohort=cohort,
                    subjects=len({e.participant_id for e in rows}),
                    sessions=len(rows),
                    by_label=dict(Counter(e.label for e in rows)),
                )
            )
    return tuple(facts)


__all__ = ["CARD_FACTS_FILE", "CardFacts", "ResultFacts", "facts_of_training", "split_facts"]
