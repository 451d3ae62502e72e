"""``questions.jsonl``: what is written comes back, and each bad line is one finding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medblip.errors import InputError, PartlyDoneError
from medblip.vqa.json_lines import LineLimits
from medblip.vqa.question_file import as_dict, read_questions, write_questions
from medblip.vqa.questions import Question, SessionImage, Turn, VolumeFile

GOOD: dict[str, Any] = {
    "id": "q1",
    "participant_id": "SIM-A-1",
    "session_id": "ses-01",
    "kind": "skull",
    "text": "Does the image show the skull?",
    "answer": "yes",
    "choices": ["no", "yes"],
}
KNOWN = {("SIM-A-1", "ses-01")}


def written(folder: Path, *lines: str | dict[str, Any]) -> Path:
    path = folder / "questions.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


words = st.text(min_size=1, max_size=30).filter(lambda t: bool(t.strip()) and t.isprintable())


@settings(max_examples=60, deadline=None)
@given(text=words, answer=words, turns=st.lists(st.tuples(words, words), max_size=3))
def test_questions_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory,
    text: str,
    answer: str,
    turns: list[tuple[str, str]],
) -> None:
    said = tuple(Turn(*turn) for turn in turns)
    questions = (
        Question("a:1", SessionImage("SIM-A-1", "ses-01"), text, "open", answer, turns=said),
        Question("b-2", VolumeFile("a/b.npy"), text, "closed", "yes", ("no", "yes"), False),
    )
    path = tmp_path_factory.mktemp("q") / "questions.jsonl"
    write_questions(path, questions)
    read = read_questions(path, sessions=KNOWN)
    assert read.questions == questions
    assert read.findings == ()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"answer": "maybe"}, "answer-not-among-choices"),
        ({"answer": "Yes"}, "answer-not-among-choices"),
        ({"choices": ["yes"]}, "wrong-choices"),
        ({"choices": [*"abcdefgh", "yes"]}, "wrong-choices"),
        ({"choices": ["yes", "YES."]}, "equal-choices"),
        ({"choices": ["yes", 1]}, "wrong-type"),
        ({"choices": "yes"}, "wrong-type"),
        ({"text": ""}, "missing-field"),
        ({"text": None}, "missing-field"),
        ({"text": 3}, "wrong-type"),
        ({"text": "x" * 5000}, "text-too-long"),
        ({"text": "half \ud83d"}, "wrong-encoding"),
        ({"id": "../q"}, "bad-id"),
        ({"kind": None}, "missing-field"),
        ({"answerable": "no"}, "wrong-type"),
        ({"choises": []}, "unknown-key"),
        ({"turns": [{"question": "a"}]}, "wrong-type"),
        ({"turns": [{"question": "a", "answer": " "}]}, "missing-field"),
        ({"turns": [{"question": "a", "answer": "b"}] * 40}, "too-many-turns"),
        ({"session_id": "ses-02"}, "unknown-session"),
        ({"session_id": None}, "missing-field"),
        ({"volume": "a.npy"}, "missing-image"),
        ({"participant_id": None, "session_id": None}, "missing-image"),
    ],
)
def test_a_bad_line_is_one_finding_and_the_others_are_read(
    tmp_path: Path, change: dict[str, Any], code: str
) -> None:
    bad = {k: v for k, v in {**GOOD, "id": "bad", **change}.items() if v is not None}
    path = written(tmp_path, {**GOOD, "id": "before"}, bad, {**GOOD, "id": "after"})
    read = read_questions(path, sessions=KNOWN)
    assert [q.id for q in read.questions] == ["before", "after"]
    assert [(f.code, f.level, f.where) for f in read.findings] == [
        (code, "error", "questions.jsonl line 2")
    ]
    assert read.skipped == 1
    with pytest.raises(PartlyDoneError, match=f"1 of 3 questions were skipped: 1 {code}") as caught:
        read.require_all("questions.jsonl")
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("{", "not-json"),
        ("[1]", "not-an-object"),
        ('{"id": NaN}', "not-json"),
        ('{"id": "a", "id": "b"}', "not-json"),
        ("[" * 30000, "not-json"),
        ('{"id": "' + "x" * 70000 + '"}', "line-too-long"),
    ],
    ids=["cut", "list", "nan", "twice", "deep", "long"],
)
def test_a_line_that_is_no_object_is_one_finding(tmp_path: Path, line: str, code: str) -> None:
    read = read_questions(written(tmp_path, line, "", GOOD))
    assert [f.code for f in read.findings] == [code]
    assert len(read.questions) == 1


def test_bytes_that_are_no_text_are_one_finding(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_bytes(b'{"id": "\xff"}\n' + json.dumps(GOOD).encode() + b"\n")
    assert [f.code for f in read_questions(path).findings] == ["wrong-encoding"]


def test_of_equal_ids_the_first_is_kept(tmp_path: Path) -> None:
    read = read_questions(written(tmp_path, GOOD, {**GOOD, "text": "Another one?"}))
    assert [q.text for q in read.questions] == [GOOD["text"]]
    assert read.counts == {"duplicate-question": 1}


@pytest.mark.parametrize(
    "path", ["../a.npy", "/etc/passwd", "a//b", "a/../../b", "C:/a", "a\\b", "./a", ""]
)
def test_a_path_that_could_leave_its_root_is_refused(path: str) -> None:
    with pytest.raises(InputError) as caught:
        Question("q", VolumeFile(path), "What?", "open", "that")
    assert caught.value.code == "unsafe-path"


def test_volumes_must_be_inside_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.npy").write_bytes(b"x")
    (root / "there.npy").write_bytes(b"x")
    (root / "link.npy").symlink_to(tmp_path / "secret.npy")
    lines = []
    for name in ("there", "gone", "link"):
        line = {k: v for k, v in GOOD.items() if k not in ("participant_id", "session_id")}
        lines.append({**line, "id": name, "volume": f"{name}.npy"})
    read = read_questions(written(tmp_path, *lines), root=root)
    assert [q.id for q in read.questions] == ["there"]
    assert [f.code for f in read.findings] == ["missing-file", "outside-root"]


def test_too_large_a_file_is_refused_as_a_whole(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD, {**GOOD, "id": "q2"})
    for limits in (LineLimits(max_file_bytes=100), LineLimits(max_lines=1)):
        with pytest.raises(InputError) as caught:
            read_questions(path, limits=limits)
        assert caught.value.code == "file-too-large"
    with pytest.raises(InputError) as caught:
        read_questions(tmp_path / "gone.jsonl")
    assert caught.value.code == "unreadable-file"


def test_what_is_empty_is_left_out_of_the_line() -> None:
    plain = Question("q", VolumeFile("a.npy"), "What?", "open", "that")
    assert set(as_dict(plain)) == {"id", "volume", "kind", "text", "answer"}
