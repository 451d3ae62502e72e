"""Closed questions by what was generated: strict match, and the lenient rule of M3D's benchmark."""

from __future__ import annotations

from medblip.vqa.questions import LETTERS, Question, folded


def strict_match(question: Question, generated: str) -> bool:
    """Whether the text is the answer and nothing else.

    The text of the right choice, its letter, or both ("B. yes"); for an open question, the answer.
    Case, blanks, Unicode composition and a final period do not matter.
    """
    plain = folded(generated)
    accepted = {folded(question.answer)}
    if question.choices:
        letter = LETTERS[question.answer_index]
        accepted |= {folded(letter), folded(f"{letter}. {question.answer}")}
    other = {folded(choice) for choice in question.choices} - {folded(question.answer)}
    # A choice may itself be called "B"; its text goes before the letter of another.
    return plain in accepted and plain not in other


def lenient_match(question: Question, generated: str) -> bool:
    """The rule of M3D's own evaluation: the letter and a period occur anywhere in the text.

    Where no choice's letter does, as in an answer in words, the right choice's text may occur
    anywhere in it. Kept to compare with published numbers. "A. yes B. no" is right for every
    question, and so is any text with "MRA." where the answer is A. False for an open question.
    """
    if not question.choices:
        return False
    letters = [f"{letter}." for letter in LETTERS[: len(question.choices)]]
    if any(letter in generated for letter in letters):
        return letters[question.answer_index] in generated
    return folded(question.answer) in folded(generated)
