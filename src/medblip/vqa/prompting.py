"""How a question reads in a prompt: what was said before, and the choices with their letters.

`medblip.model.prompt.PromptBuilder` writes ``<scan> <record> Question: <question> Answer:``. What
was said before takes the record's place in the same form, so that a dialogue reads on without a
seam; where it is too long, its middle gives way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from medblip.vqa.questions import LETTERS, Question, Turn


def said_before(question: Question) -> str:
    """The turns before the question, as `told` says them."""
    return told(question.turns)


def told(turns: Iterable[Turn]) -> str:
    """``"Question: ... Answer: ... Question: ... Answer: ..."``."""
    return " ".join(f"Question: {turn.question} Answer: {turn.answer}" for turn in turns)


def shown(question: Question, order: Sequence[int] | None = None) -> str:
    """The question with its choices, as M3D shows them: ``"... Choices: A. yes B. no"``.

    Args:
        order: position -> choice; None leaves them as they are.
    """
    listed = lettered(question, order)
    return f"{question.text} Choices: {' '.join(listed)}" if listed else question.text


def worded(question: Question, *, choices: bool) -> str:
    """The question as `shown`, or without its choices."""
    return shown(question) if choices else question.text


def lettered(question: Question, order: Sequence[int] | None = None) -> list[str]:
    """The choices with their letters, by position: ``["A. yes", "B. no"]``."""
    choices = question.choices if order is None else [question.choices[n] for n in order]
    return [f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]
