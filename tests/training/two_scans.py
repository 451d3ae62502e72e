"""A study whose answers only two scans together tell: the same current one after either of two."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.numpy import save_file
from tiny_run import SIZE, TinyRun, make_recipe, say_size
from transformers import LlamaForCausalLM

import tiny_world
from medblip.evaluation.vqa_shown import about
from medblip.model import MedBlipForConditionalGeneration, MedBlipProcessor
from medblip.model.replies import Ask, reply
from medblip.study.study import STUDY_FILE, Study
from medblip.training.asked_validation import together
from medblip.training.token_cache import LiveTokens
from medblip.vqa.priors import visits_of
from medblip.vqa.question_file import QUESTIONS_FILE, write_questions
from medblip.vqa.questions import Question, SessionImage
from study.study_maker import make_images, make_sessions, write_study

SUBJECTS = 24
BRIGHTNESS = {"ses-1": (1, 60), "ses-2": (190, 256), "ses-3": (100, 140)}  # dark, bright, between
ANSWERS = {"ses-1": "yes", "ses-2": "no"}  # of the third session against each


def comparing(sessions: pd.DataFrame) -> Iterator[Question]:
    """Whether the last scan is brighter than the one before, of each of two before it."""
    for subject in sessions["participant_id"].unique():
        for prior, answer in ANSWERS.items():
            yield Question(
                f"brighter:{subject}:{prior}",
                SessionImage(subject, "ses-3"),
                "Is it brighter?",
                "brighter",
                answer,
                prior=SessionImage(subject, prior),
            )


def make_two_scan_run(root: Path, **tune: object) -> TinyRun:
    """Write all that a training on these questions reads into ``root``."""
    tiny_world.write_vision(root / "vision")
    tiny_world.write_language(root / "language")
    _speak_up(root / "language")
    sessions = make_sessions(SUBJECTS, visits=3)
    write_study(root / "study", sessions)
    say_size(root / "study" / STUDY_FILE)
    write_questions(root / "study" / QUESTIONS_FILE, comparing(sessions))
    _write_cubes(root / "cubes", sessions)
    stage = {"questions": "vqa", "itc_answer": 0, "itc_record": 0, "token_noise": 0, **tune}
    recipe = make_recipe(root, **stage)
    align = recipe.align.model_copy(update={"steps": 0})
    return TinyRun(root, recipe.model_copy(update={"align": align}))


def _speak_up(folder: Path) -> None:
    """Larger embeddings and output weights: frozen, the fresh ones keep all words near equal."""
    model = LlamaForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        for table in (model.get_input_embeddings(), model.get_output_embeddings()):
            table.weight.mul_(30)
    model.save_pretrained(folder)


def _write_cubes(folder: Path, sessions: pd.DataFrame) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    cubes = make_images(sessions)["cube"]
    for name, session in zip(cubes, sessions["session_id"], strict=True):
        cube = rng.integers(*BRIGHTNESS[session], (SIZE,) * 3).astype(np.uint8)
        save_file({"array": cube}, folder / name)


def share_right(tiny: TinyRun, run: Path) -> float:
    """Of the questions about test subjects, by the likelier of yes and no; both scans are shown."""
    model = MedBlipForConditionalGeneration.from_pretrained(run / "model").eval()
    processor = MedBlipProcessor.from_pretrained(run / "model")
    cache, visits = LiveTokens(model, tiny.places["cubes"]), visits_of(tiny.study)
    tested = set(tiny.study.splits.subjects["test"])
    right = []
    for question in comparing(tiny.study.sessions):
        if question.prior is None or question.prior.participant_id not in tested:
            continue
        cubes = (visits[about(question)].cube, visits[question.prior].cube)
        tokens, mask = together([cache.tokens(cube) for cube in reversed(cubes)], model.device)
        ids = processor.prompts.prompt("", question.text, previous=True).ids
        answers = ("yes", "no")
        ask = Ask(ids, tuple(processor.prompts.answer(answer) for answer in answers))
        (one,) = reply(model, [ask], tokens, image_mask=mask)
        right.append(answers[int(np.argmax(one.scores))] == question.answer)
    return float(np.mean(right))


def without_priors(study: Study) -> None:
    """Ask the same of the last scan alone."""
    questions = [
        Question(q.id, q.image, q.text, q.kind, q.answer) for q in comparing(study.sessions)
    ]
    write_questions(study.folder / QUESTIONS_FILE, questions)
