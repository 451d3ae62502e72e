"""NeuroQA-type JSONL, under the key names that we assume and under others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medblip.vqa.neuroqa import NeuroQaKeys, read_neuroqa

BASE: dict[str, Any] = {
    "id": "n1",
    "image": "sub-01/t1.nii.gz",
    "question": "Are the ventricles enlarged?",
    "question_type": "ventricles",
    "answer": "Yes",
}


def read_one(folder: Path, **changes: Any) -> Any:
    path = folder / "qa.jsonl"
    path.write_text(json.dumps({**BASE, **changes}) + "\n")
    return read_neuroqa(path)


def test_yes_and_no_get_their_choices(tmp_path: Path) -> None:
    (question,) = read_one(tmp_path).questions
    assert (question.choices, question.answer) == (("yes", "no"), "yes")


@pytest.mark.parametrize("answer", ["B", "b.", "larger", "Larger."])
@pytest.mark.parametrize("choices", [["smaller", "larger"], {"A": "smaller", "B": "larger"}])
def test_an_answer_may_be_a_text_or_a_letter(tmp_path: Path, answer: str, choices: Any) -> None:
    (question,) = read_one(tmp_path, answer=answer, choices=choices).questions
    assert (question.choices, question.answer) == (("smaller", "larger"), "larger")


def test_an_open_question_has_no_choices(tmp_path: Path) -> None:
    (question,) = read_one(tmp_path, answer="2.1 mm", choices=None).questions
    assert (question.choices, question.answer) == ((), "2.1 mm")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"answer": "C", "choices": ["a thing", "another"]}, "answer-not-among-choices"),
        ({"choices": 3}, "wrong-type"),
        ({"choices": [1, 2]}, "wrong-type"),
        ({"answer": 2.1}, "wrong-type"),
        ({"answerable": "yes"}, "wrong-type"),
        ({"image": "../t1.nii.gz"}, "unsafe-path"),
        ({"question": ""}, "missing-field"),
    ],
)
def test_a_bad_line_is_one_finding(tmp_path: Path, changes: dict[str, Any], code: str) -> None:
    read = read_one(tmp_path, **changes)
    assert read.questions == ()
    assert [f.code for f in read.findings] == [code]


def test_other_names_are_a_setting(tmp_path: Path) -> None:
    path = tmp_path / "qa.jsonl"
    renamed = {"qid": "n1", "volume": "a.nii", "q": "How large?", "skill": "size", "gt": "large"}
    path.write_text(json.dumps(renamed) + "\n")
    keys = NeuroQaKeys(id="qid", image="volume", question="q", kind="skill", answer="gt")
    (question,) = read_neuroqa(path, keys=keys).questions
    assert (question.id, question.kind, question.answer) == ("n1", "size", "large")
