"""Questions of every form about the sessions of a study: closed, unanswerable, dialogues, pairs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from medblip.study.study import Example, Study
from medblip.vqa.question_file import QUESTIONS_FILE, write_questions
from medblip.vqa.questions import Question, SessionImage, Turn
from medblip.vqa.templates import CANNOT

SIZES = ("small", "medium", "large")


def questions_about(examples: Iterable[Example]) -> Iterator[Question]:
    """Of each session: sizes, yes or no, what cannot be seen, a dialogue, a pair of cases."""
    for number, example in enumerate(examples):
        image = SessionImage(example.participant_id, example.session_id)
        who = f"{example.participant_id}:{example.session_id}"
        yes, no = ("yes", "no") if number % 2 else ("no", "yes")
        size = SIZES[number % 3]
        yield Question(f"size:{who}", image, "How large is it?", "size", size, SIZES)
        yield Question(f"skull:{who}", image, "Is the skull there?", "skull", yes, ("yes", "no"))
        yield Question(
            f"vain:{who}",
            image,
            "Does the subject smoke?",
            "unanswerable",
            CANNOT,
            ("never", CANNOT),
            answerable=False,
        )
        yield Question(
            f"dialogue:{who}",
            image,
            "Who is it?",
            "dialogue",
            "The scan cannot show it.",
            answerable=False,
            turns=(Turn("What do you see?", f"{size} ventricles."), Turn("How far?", "2.1 mm.")),
        )
        for side, topic, answer in (("a", "skull", yes), ("b", "cortex", no)):
            turns = (Turn(f"Let us turn to the {topic}.", "Go on."),)
            yield Question(
                f"two-turn:{number}{side}",
                image,
                "Is it there?",
                "two-turn-topic",
                answer,
                ("yes", "no"),
                turns=turns,
            )


def write_about(study: Study) -> tuple[Question, ...]:
    """Questions about every labelled session of a study, in its folder."""
    splits = ("train", "validation", "test", "zero_shot")
    examples = [example for split in splits for example in study.examples(split)]
    made = tuple(questions_about(examples))
    write_questions(Path(study.folder) / QUESTIONS_FILE, made)
    return made
