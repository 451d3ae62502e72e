"""Free text from a person: capped, normalised, and unable to act as anything but text.

A record may contain whatever its writer liked. It is shown to the model in one slot; nothing in it
may end that slot, open another, or hide from the reader what the model sees.
"""

from __future__ import annotations

import re
import unicodedata

from medblip.errors import InputError
from medblip.findings import Finding

MAX_RECORD_CHARS = 4000
MAX_QUESTION_CHARS = 500

# `<` before anything but a blank, `=` or a plain number: </s>, <|im_start|>, <0x0A>, <<SYS>>.
_ANGLE = re.compile(r"<(?!\s|=|$|[0-9]+(?:[.,][0-9]+)?(?![0-9A-Za-z>]))")
# [INST], [/INST], [CLS], [SEP], [MASK], [PAD], [unused1]
_BRACKET = re.compile(r"\[(?=/?[A-Za-z]{2,10}[0-9]*\])")
_OTHER_SCRIPT_SHARE = 0.2


def clean_text(
    text: str, max_chars: int = MAX_RECORD_CHARS, *, where: str = "record"
) -> tuple[str, tuple[Finding, ...]]:
    """Make free text safe to show and to tokenise; the result is stable under cleaning again.

    The text is cut to ``max_chars`` characters, composed (NFC), stripped of control,
    bidirectional and invisible characters, its runs of blanks become one, and a blank is put into
    anything that looks like a special token (``</s>`` becomes ``< /s>``).

    Returns:
        (text, findings): a warning for each thing cut, removed, split or in another script.
    """
    findings: list[Finding] = []
    kept = text[:max_chars]  # first, so that a megabyte costs nothing below
    if len(text) > max_chars:
        problem = f"{len(text)} characters, of which the last {len(text) - max_chars} were cut"
        fix = f"shorten it to {max_chars} characters"
        findings.append(Finding("text-cut", "warning", where, problem, fix))
    visible, removed = _visible(unicodedata.normalize("NFC", kept))
    if removed:
        problem = f"{removed} control or invisible character(s) were removed"
        findings.append(Finding("control-characters", "warning", where, problem))
    clean, split = _split_tokens(visible)
    if split:
        problem = f"{split} piece(s) that look like special tokens were split"
        findings.append(Finding("special-token", "warning", where, problem))
    findings.extend(_judge(clean, where))
    return clean, tuple(findings)


def clean_question(
    text: str, max_chars: int = MAX_QUESTION_CHARS
) -> tuple[str, tuple[Finding, ...]]:
    """As `clean_text` for a question, which may be neither cut nor empty.

    Raises:
        InputError: ``empty-question`` or ``question-too-long``.
    """
    if len(text) > max_chars:
        problem = f"{len(text)} characters, expected at most {max_chars}"
        raise InputError("question", problem, "ask a shorter question", code="question-too-long")
    clean, findings = clean_text(text, max_chars, where="question")
    if not clean:
        fix = "ask a question or leave it out to use the default one"
        raise InputError("question", "the question is empty", fix, code="empty-question")
    return clean, findings


def _visible(text: str) -> tuple[str, int]:
    """Drop control (Cc), format (Cf), surrogate, private and unassigned characters."""
    spaced = re.sub(r"\s+", " ", text)
    kept = "".join(c for c in spaced if not unicodedata.category(c).startswith("C"))
    # Removing a character may join two blanks or two composing characters.
    joined = unicodedata.normalize("NFC", re.sub(r"\s+", " ", kept)).strip()
    return joined, len(spaced) - len(kept)


def _split_tokens(text: str) -> tuple[str, int]:
    text, angles = _ANGLE.subn("< ", text)
    text, brackets = _BRACKET.subn("[ ", text)
    return text.strip(), angles + brackets


def _judge(text: str, where: str) -> list[Finding]:
    letters = [c for c in text if c.isalpha()]
    if not text:
        return [Finding("empty-text", "warning", where, "there is no text")]
    foreign = sum(not unicodedata.name(c, "").startswith(("LATIN", "MICRO")) for c in letters)
    if foreign <= _OTHER_SCRIPT_SHARE * len(letters):
        return []
    share = f"{100 * foreign / len(letters):.0f} %"
    problem = f"{share} of the letters are not Latin; the model was trained on English records"
    return [Finding("other-script", "warning", where, problem, "write the record in English")]
