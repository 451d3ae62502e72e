"""The questions of a study folder: its ``questions.jsonl``, by session."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from medblip.errors import InputError
from medblip.study.study import Example, Study
from medblip.vqa.dialogues import KIND, each_turn
from medblip.vqa.priors import visits_of
from medblip.vqa.question_file import QUESTIONS_FILE, read_questions
from medblip.vqa.questions import Question, SessionImage

SessionKey = tuple[str, str]


def study_questions(study: Study) -> tuple[Question, ...]:
    """All questions of a study, in the order of the file.

    Raises:
        InputError: there is no such file, or a line of it cannot be used: what is trained on or
            scored is the whole file.
    """
    path = study.folder / QUESTIONS_FILE
    if not path.is_file():
        fix = "write it with medblip questions"
        raise InputError(str(path), "there are no questions", fix, code="no-questions")
    sessions = zip(study.sessions["participant_id"], study.sessions["session_id"], strict=True)
    read = read_questions(path, sessions=set(sessions), visits=visits_of(study))
    if read.skipped:
        first = next(f for f in read.findings if f.level == "error")
        problem = f"{first.problem}; {read.skipped} of its lines cannot be used"
        raise InputError(first.where, problem, first.fix, code="bad-questions")
    return read.questions


def by_session(questions: Iterable[Question]) -> dict[SessionKey, list[Question]]:
    """The questions about each session; those about other volumes are left out."""
    found: dict[SessionKey, list[Question]] = defaultdict(list)
    for question in questions:
        image = question.image
        if isinstance(image, SessionImage):
            found[image.participant_id, image.session_id].append(question)
    return dict(found)


def unrolled(question: Question) -> Iterator[Question]:
    """Each turn of a dialogue as a question of its own; any other question as it is.

    The turns before a two-turn case, open or closed, say nothing of the scan and stay its context.
    """
    if question.kind == KIND and not question.choices:
        yield from each_turn(question)
    else:
        yield question


def asked_about(
    examples: Sequence[Example], questions: Mapping[SessionKey, Sequence[Question]]
) -> Iterator[tuple[Example, Question]]:
    """Each example with each question about it, in the order of the examples."""
    for example in examples:
        for question in questions.get((example.participant_id, example.session_id), ()):
            yield example, question
