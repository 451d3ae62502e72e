"""One process's work on a run: the model as it goes through the stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers

from medblip.model import MedBlipForConditionalGeneration, MedBlipProcessor
from medblip.model.configuration_medblip import LOSSES
from medblip.recipe import Recipe, StageSection
from medblip.study.study import Example, Study
from medblip.training.agreement import by_first_process, is_first_process
from medblip.training.asked import AskedDataset, asked_items, is_contrasted
from medblip.training.asked_validation import AskedValidation, asked_validation, compared
from medblip.training.checkpoints import drop_incomplete, newest_complete, step_of
from medblip.training.choice_validation import ChoiceValidation
from medblip.training.collating import CONTRASTED, Collator
from medblip.training.data import StageDataset
from medblip.training.ema import MovingAverage
from medblip.training.failures import Place, explained
from medblip.training.interrupts import StopWhenAsked, stop_if_asked
from medblip.training.learned import set_learned
from medblip.training.metrics_file import MetricsFile
from medblip.training.progress import Progress
from medblip.training.recording import Averaging, Record
from medblip.training.run_folder import (
    BEST_FILE,
    FINAL_FOLDER,
    FINISHED,
    METRICS_FILE,
    MODEL_FOLDER,
    Keeper,
    save_model,
)
from medblip.training.stage_trainer import StageTrainer, stage_arguments
from medblip.training.token_cache import LiveTokens, TokenCache
from medblip.training.trackers import tracker_callbacks
from medblip.training.train_share import training_examples
from medblip.training.validation import Validation
from medblip.training.watching import Gauges
from medblip.vqa.priors import Visits, prior_cubes, visits_of
from medblip.vqa.questions import Question
from medblip.vqa.study_questions import asked_about, by_session, study_questions

TITLES = {
    "align": "Aligning image and text",
    "tune": "Tuning the answers",
    "end_to_end": "Training end to end",
}


@dataclass(frozen=True)
class Places:
    """Folders of a run: its own, the volume cache's and the token caches'."""

    out: Path
    cubes: Path
    tokens: Path


class Session:
    """A model on its way through the stages of a recipe.

    Args:
        precision: ``float32`` or ``bfloat16``.
        trackers: names of experiment trackers to log to as well.
        progress: show bars.
    """

    def __init__(
        self,
        recipe: Recipe,
        study: Study,
        places: Places,
        model: MedBlipForConditionalGeneration,
        processor: MedBlipProcessor,
        precision: str,
        *,
        trackers: Sequence[str] = (),
        progress: bool = True,
    ) -> None:
        self.recipe = recipe
        self.study = study
        self.places = places
        self.model = model
        self.processor = processor
        self.precision = precision
        self.trackers = trackers
        self.progress = progress
        self.rows = MetricsFile(places.out / METRICS_FILE)

    @cached_property
    def train_examples(self) -> list[Example]:
        return training_examples(self.study, self.recipe)

    @cached_property
    def held_out(self) -> list[Example]:
        return self.study.examples("validation", "first")

    def run_stages(self) -> None:
        """All stages that have steps; each goes on where it stopped."""
        names = [name for name, stage in self.recipe.stages().items() if stage.runs] or ["tune"]
        for name in names:
            self._run_stage(name, last=name == names[-1])

    def _run_stage(self, name: str, *, last: bool) -> None:
        stage = self.recipe.stages()[name].resolved(len(self.train_examples))
        folder = self.places.out / name
        final = self.places.out / MODEL_FOLDER if last else folder / FINAL_FOLDER
        if (final / BEST_FILE).exists() and (folder / FINISHED).exists():
            self.model.load_learned(final)
            return
        self.model.config.loss_weights = {name: getattr(stage, name) for name in LOSSES}
        average = self._fit(name, stage, folder, final if last else None) if stage.steps else None
        if not (last and (final / BEST_FILE).exists()):
            if average is not None:
                average.swap()  # the next stage goes on from the average
            facts = {"stage": name, "step": stage.steps}
            by_first_process(lambda: save_model(self.model, final, facts))
        by_first_process(lambda: _mark_finished(folder))

    def _fit(
        self, name: str, stage: StageSection, folder: Path, best: Path | None
    ) -> MovingAverage | None:
        set_learned(self.model, stage, entry=self.recipe.learns_entry(name))
        images = self._images(name)
        dataset = self._dataset(name, stage, images)
        average = MovingAverage(self.model, stage.ema_decay) if stage.ema_decay else None
        keep = None if best is None else Keeper(self.model, name, best)
        bar = Progress(TITLES[name]) if self.progress and is_first_process() else None
        gauges = Gauges(self.model, stage.batch_size)
        validation = self._validation(stage, images)
        record = Record(name, stage, self.rows, validation, keep, gauges, average, bar)
        trainer = StageTrainer(
            model=self.model,
            args=self._arguments(name, stage, folder),
            train_dataset=dataset,
            data_collator=Collator(
                self.processor.tokenizer.pad_token_id,
                self.model.config.is_encoder_decoder,
                dataset.blank,
                # Nothing learns from answers to questions that many images share.
                ("record",) if stage.questions == "vqa" else tuple(CONTRASTED),
            ),
            stage=stage,
            gauges=gauges,
            kept=[average] if average else [],
            callbacks=[
                *([Averaging(average)] if average else []),
                record,
                StopWhenAsked(),
                *self._tracking(name),
            ],
        )
        trainer.remove_callback(transformers.ProgressCallback)
        trainer.remove_callback(transformers.PrinterCallback)
        if bar:
            trainer.add_callback(bar)
        checkpoint = newest_complete(folder)
        by_first_process(lambda: self._rewind(name, checkpoint))
        if checkpoint:
            trainer.load(checkpoint)
            record.catch_up(self.model, step_of(checkpoint))
        if not (checkpoint and record.patience_is_over()):  # else it was about to stop
            place = Place(name, stage, folder, dataset, self.study.sessions)
            with explained(place, trainer):
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            stop_if_asked(f"step {trainer.steps_done} of stage {name} is saved")
        gauges.close()
        return average

    def _rewind(self, name: str, checkpoint: Path | None) -> None:
        """Forget what came after ``checkpoint``."""
        self.rows.rewind(name, step_of(checkpoint) if checkpoint else 0)
        drop_incomplete(self.places.out / name)

    def _tracking(self, name: str) -> list[transformers.TrainerCallback]:
        if not is_first_process():
            return []
        return tracker_callbacks(self.trackers, self.places.out / "tensorboard" / name)

    def _images(self, name: str) -> LiveTokens:
        """Where image tokens come from: kept ones are valid only while what makes them stays."""
        if self.recipe.learns_entry(name):
            return LiveTokens(self.model, self.places.cubes, self.precision)
        cache = TokenCache(self.model, self.places.cubes, self.places.tokens, self.precision)
        both = [*self.train_examples, *self.held_out]
        cache.fill([e.cube for e in both] + self._compared_cubes(name), progress=self.progress)
        return cache

    def _compared_cubes(self, name: str) -> list[str]:
        """Of earlier scans that questions compare with, and of later ones held out."""
        if self.recipe.stages()[name].questions == "diagnosis":
            return []
        later = self._compared(self.held_out)
        about = by_session(self.questions)
        asked = [q for _, q in asked_about([*self.train_examples, *later], about)]
        return [*(e.cube for e in later), *prior_cubes(asked, self.visits)]

    def _compared(self, looked_at: list[Example]) -> list[Example]:
        return compared(looked_at, self.study.examples("validation"), self.questions)

    def _seed(self, name: str) -> int:
        names = list(self.recipe.stages())
        return self.recipe.seed * len(names) + names.index(name)

    @cached_property
    def questions(self) -> tuple[Question, ...]:
        return study_questions(self.study)

    def _questions_of(self, stage: StageSection) -> list[Question]:
        """Those that the stage can learn: without the language loss, from their choices."""
        return [q for q in self.questions if stage.language or is_contrasted(q)]

    @cached_property
    def visits(self) -> Visits:
        return visits_of(self.study)

    def _dataset(self, name: str, stage: StageSection, images: LiveTokens) -> StageDataset:
        form, prompts = self.recipe.record.form, self.processor.prompts
        if stage.questions != "diagnosis":
            both = stage.questions == "both"
            asked = self._questions_of(stage)
            items = asked_items(self.train_examples, asked, diagnosis=both, visits=self.visits)
            return AskedDataset(items, form, images, prompts, stage, self._seed(name))
        return StageDataset(self.train_examples, form, images, prompts, stage, self._seed(name))

    def _validation(self, stage: StageSection, images: LiveTokens) -> Validation | None:
        if not self.held_out:
            return None
        form, prompts = self.recipe.record.form, self.processor.prompts
        wanted = min(stage.evaluate_sessions or len(self.held_out), len(self.held_out))
        looked_at = [self.held_out[i * len(self.held_out) // wanted] for i in range(wanted)]
        if stage.questions != "diagnosis":
            both = stage.questions == "both"
            return asked_validation(
                self._compared(looked_at),
                self._questions_of(stage),
                form,
                images,
                prompts,
                both,
                self.visits,
                choices=stage.choices_shown > 0,
                kind=AskedValidation if stage.language else ChoiceValidation,
            )
        return Validation(looked_at, form, images, prompts, stage.language > 0)

    def _arguments(self, name: str, stage: StageSection, folder: Path) -> Any:
        device: torch.device = self.model.query_tokens.device
        return stage_arguments(
            folder,
            stage,
            self._seed(name),
            self.precision,
            device,
            compiled=self.recipe.compile,
        )


def _mark_finished(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FINISHED).touch()
