"""``evaluate --questions-file``: a trained run on a public set of questions about volume files.

The paper's Table 3 in form: none of these volumes belongs to a study, and none was trained on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from medblip.errors import InputError, PartlyDoneError
from medblip.evaluation.answering import model_sha256
from medblip.evaluation.evaluate import SCORES_FOLDER, finished_recipe, load_scorer
from medblip.evaluation.question_volumes import QuestionVolumes, gated, make_cubes, volume_of
from medblip.evaluation.vqa_answers import KeptReplies
from medblip.evaluation.vqa_evaluate import (
    QUESTION_ANSWERS_FILE,
    QUESTION_RESULTS_FILE,
    QuestionSplit,
    put,
)
from medblip.evaluation.vqa_shown import (
    OF_TWO_SCANS,
    QUESTION_CONDITIONS,
    QuestionCondition,
    ScannedSession,
    Scans,
    images_of,
    spread,
)
from medblip.findings import Finding
from medblip.notice import RESEARCH_USE
from medblip.storage import write_json, write_text
from medblip.training.card_facts import CardFacts
from medblip.training.run_folder import MODEL_FOLDER
from medblip.volumes import Preprocessing
from medblip.vqa.question_file import read_questions
from medblip.vqa.question_origin import MODALITY_TOLD, QuestionOrigin
from medblip.vqa.question_set import QuestionSet
from medblip.vqa.questions import Question, VolumeFile
from medblip.vqa.study_questions import unrolled
from medblip.vqa.volume_cubes import VolumeCubes

SET = "volumes"
CONDITIONS = tuple(c for c in QUESTION_CONDITIONS if c not in OF_TWO_SCANS)
OTHER_VOLUME = {
    "title": "Another volume's image",
    "explanation": "The image of another volume of the set.",
}
ONE_PATIENT = "Intervals are over volumes: several volumes of one patient count as independent."
ONE_IMAGE = "All questions are about one image, so there is no other one to show."


@dataclass(frozen=True)
class VolumeEvaluation:
    """All that is reported of a public set.

    Attributes:
        asked: the questions about volumes that could be used, with answers and scores.
        volumes: what became of the volumes.
        file: the file of the questions.
        read: what was made of its lines.
        origin: what stands beside it.
        checkpoint: what is known of the model.
        model: hash of its learned weights.
        most: so many of each kind were asked; None for all.
        folder: of the results.
    """

    asked: QuestionSplit
    volumes: QuestionVolumes
    file: Path
    read: QuestionSet
    origin: QuestionOrigin | None
    checkpoint: CardFacts
    model: str
    most: int | None
    folder: Path

    @property
    def told(self) -> list[str]:
        """What a reader of the numbers must know."""
        training = self.checkpoint.training
        told = [MODALITY_TOLD[self.origin.modality if self.origin else None]]
        if training is None or not training.asked_questions:
            told.append("The model was not trained on questions about scans.")
        if self.checkpoint.simulated is not False:
            known = "was" if self.checkpoint.simulated else "may have been"
            told.append(f"The model {known} trained on simulated scans (SIM-).")
        told.append(ONE_PATIENT)
        if "other_image" not in self.asked.scores:
            told.append(ONE_IMAGE)
        return told

    @property
    def problems(self) -> list[Finding]:
        """Lines and volumes that were left out."""
        lines = [finding for finding in self.read.findings if finding.level == "error"]
        return [*lines, *(volume.told for volume in self.volumes.skipped)]

    def as_dict(self) -> dict[str, Any]:
        split = self.asked.as_dict()
        split[SET] = split.pop("subjects")
        if "other_image" in split["conditions"]:
            split["conditions"]["other_image"] |= OTHER_VOLUME
        return {
            "schema": "medblip-volume-question-results/1",
            "created": datetime.now(UTC).date().isoformat(),
            "notice": RESEARCH_USE,
            "told": self.told,
            "simulated": None,
            "file": self.file.name,
            "origin": self.origin and self.origin.model_dump(mode="json"),
            "model_sha256": self.model,
            "most_of_each_kind": self.most,
            "lines": {
                "read": len(self.read.questions),
                "skipped": self.read.skipped,
                "findings": [finding.as_dict() for finding in self.read.findings],
            },
            SET: self.volumes.as_dict(),
            "splits": {SET: split},
        }

    def require_all(self) -> None:
        """Raise PartlyDoneError (exit code 4) if a line or a volume was left out."""
        lines, volumes = self.read.skipped, self.volumes.skipped
        if lines or volumes:
            lost = sum(len(volume.questions) for volume in volumes)
            problem = (
                f"{lines} lines and {len(volumes)} volumes, with {lost} questions about them, "
                "were left out"
            )
            fix = f"{QUESTION_RESULTS_FILE} lists them"
            raise PartlyDoneError(self.file.name, problem, fix, code="questions-skipped")


def evaluate_volumes(
    run: Path,
    file: Path,
    root: Path,
    *,
    cubes: Path,
    tokens: Path,
    out: Path | None = None,
    most: int | None = None,
    progress: bool = True,
) -> VolumeEvaluation:
    """Put questions about volume files to the model of a run, under the four conditions.

    Writes ``question_results.json`` and ``question_answers.tsv``. Cubes, tokens and replies are
    kept, so that an interrupted evaluation goes on where it stopped; a volume at a time is in
    memory. A volume that cannot be used is left out and listed.

    Args:
        run: folder of a finished training.
        file: questions that name volumes, as ``medblip questions m3d`` writes them.
        root: folder that the volumes' paths start from and may not lead out of.
        cubes, tokens: folders of the caches.
        out: folder of the results; ``questions-<name of the file>`` in the run's if None.
        most: so many questions of each kind, evenly spaced; None asks all.

    Raises:
        InputError: the run is not finished, no question is about a volume, or no volume can be
            used.
    """
    recipe = finished_recipe(run)
    read, questions, origin = _read(file, most)
    if not root.is_dir():
        fix = "name the folder that the volumes' paths start from"
        raise InputError(root.name, "there is no such folder", fix, code="missing-folder")
    scorer = load_scorer(run, recipe, cubes, tokens)
    settings = Preprocessing(**scorer.processor.image_processor.preprocessing)
    volumes = make_cubes(questions, gated(VolumeCubes(root, cubes, settings)), progress=progress)
    usable = [question for question in questions if volume_of(question) in volumes.cubes]
    if not usable:
        raise _nothing_to_show(volumes)
    scorer.cache.fill(volumes.cubes.values(), progress=progress)
    folder = out or run / f"questions-{file.stem}"
    model = model_sha256(scorer.model)
    # Replies of another model in the same folder are not this one's.
    replies = folder / SCORES_FOLDER / model[:16]
    kept = KeptReplies(replies, scorer, progress, recipe.shows_choices)
    evaluation = VolumeEvaluation(
        asked=put(SET, usable, _shown(usable, volumes), kept),
        volumes=volumes,
        file=file,
        read=read,
        origin=origin,
        checkpoint=CardFacts.of_checkpoint(run / MODEL_FOLDER),
        model=model,
        most=most,
        folder=folder,
    )
    write_json(folder / QUESTION_RESULTS_FILE, evaluation.as_dict())
    write_text(folder / QUESTION_ANSWERS_FILE, _table(evaluation))
    return evaluation


def _read(
    file: Path, most: int | None
) -> tuple[QuestionSet, list[Question], QuestionOrigin | None]:
    """What the file holds, those of it that are asked, and where it came from."""
    read = read_questions(file)
    turns = [turn for question in read.questions for turn in unrolled(question)]
    asked = spread([turn for turn in turns if isinstance(turn.image, VolumeFile)], most)
    if not asked:
        problem = f"none of {len(read.questions)} questions is about a volume file"
        fix = "questions about sessions of a study: medblip evaluate RUN --study STUDY --questions"
        raise InputError(file.name, problem, fix, code="no-questions")
    return read, asked, QuestionOrigin.beside(file)


def _nothing_to_show(volumes: QuestionVolumes) -> InputError:
    first = volumes.skipped[0].error
    codes = Counter(volume.error.code for volume in volumes.skipped)
    listed = ", ".join(f"{times} {code}" for code, times in codes.most_common())
    problem = f"{first.problem}; none of {len(volumes.skipped)} volumes can be used ({listed})"
    return InputError(first.where, problem, first.fix, code=first.code)


def _shown(
    questions: Sequence[Question], volumes: QuestionVolumes
) -> dict[QuestionCondition, list[Scans]]:
    """What is shown with each question. Volumes of equal content are never another's image."""
    listed = {path: ScannedSession(cube, path, cube) for path, cube in volumes.cubes.items()}
    several = len(set(volumes.cubes.values())) > 1
    shown: dict[QuestionCondition, list[Scans]] = {}
    for condition in CONDITIONS:
        if several or condition != "other_image":
            images = images_of(list(listed.values()), condition)
            shown[condition] = [Scans(images[listed[volume_of(q)].key]) for q in questions]
    return shown


def _table(evaluation: VolumeEvaluation) -> str:
    """The answers, with what each row must not be read without."""
    modality = evaluation.origin.modality if evaluation.origin else "not known"
    rows = [
        {"volume": volume_of(question), **row, "modality": modality, "notice": RESEARCH_USE}
        for question, row in zip(evaluation.asked.questions, evaluation.asked.rows(), strict=True)
    ]
    return pd.DataFrame(rows).to_csv(sep="\t", index=False)
