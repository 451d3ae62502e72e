"""`medblip questions` on files of every wrong kind: an exit code, one line, never a traceback."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from medblip.cli import main
from medblip.vqa import m3d

COLUMNS = (
    *("Image Path", "Image Caption", "Question", "Choice A", "Choice B", "Choice C", "Choice D"),
    *("Answer", "Answer Choice", "Question Type"),
)
CELLS = ("v.npy", "A report.", "Which?", "Axial", "Sagittal", "Coronal", "NA", "Coronal", "C", "1")
GOOD = dict(zip(COLUMNS, CELLS, strict=True))
BAD_ROWS = {
    "missing-choices": {"Choice B": ""},
    "answer-not-among-choices": {"Question": "Then?", "Answer": "Dorsal"},
    "unsafe-path": {"Question": "And?", "Image Path": "../v.npy"},
    "missing-file": {"Question": "Or?", "Image Path": "none.npy"},
    "duplicate-question": {},
}
LINE = {"id": "q", "image": "v.npy", "question": "Is it?", "question_type": "k", "answer": "yes"}
BAD_LINES = {
    "wrong-choices": {"id": "a", "choices": ["one"], "answer": "one"},
    "answer-not-among-choices": {"id": "b", "choices": ["one", "two"], "answer": "three"},
    "unsafe-path": {"id": "c", "image": "/etc/passwd"},
    "missing-file": {"id": "d", "image": "none.npy"},
    "duplicate-question": {},
}


def table(path: Path, rows: list[dict[str, str]], encoding: str = "utf-8", end: str = "\n") -> Path:
    with path.open("w", encoding=encoding, newline="") as handle:
        writer = csv.DictWriter(handle, COLUMNS, lineterminator=end)
        writer.writeheader()
        writer.writerows(rows)
    return path


def lines(path: Path, rows: list[dict[str, object]], encoding: str = "utf-8") -> Path:
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    path.write_text(text, encoding)
    return path


@pytest.fixture
def questions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs the command on a file; returns exit code, stdout and stderr."""
    (tmp_path / "v.npy").touch()

    def call(kind: str, source: Path, out: Path | None = None, *more: str) -> tuple[int, str, str]:
        target = out or tmp_path / "out.jsonl"
        words = ["medblip", "questions", kind, str(source), "--out", str(target), *more]
        monkeypatch.setattr(sys, "argv", words)
        code = 0
        try:
            main()
        except SystemExit as left:
            code = int(left.code or 0)
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def written(folder: Path) -> list[str]:
    return (folder / "out.jsonl").read_text("utf-8").splitlines()


@pytest.mark.parametrize("kind", ["m3d", "neuroqa"])
def test_each_bad_entry_is_listed_skipped_and_counted(
    questions: Callable[..., tuple[int, str, str]], tmp_path: Path, kind: str
) -> None:
    if kind == "m3d":
        codes = list(BAD_ROWS)
        source = table(tmp_path / "s.csv", [GOOD, *({**GOOD, **bad} for bad in BAD_ROWS.values())])
    else:
        codes = list(BAD_LINES)
        source = lines(tmp_path / "s.jsonl", [LINE, *({**LINE, **b} for b in BAD_LINES.values())])
    code, out, err = questions(kind, source, None, "--root", str(tmp_path))
    assert code == 4
    assert len(written(tmp_path)) == 1
    assert "1 questions, 5 entries skipped" in out
    for number, named in enumerate(codes, start=2 + (kind == "m3d")):
        assert f"1 {named}" in err
        assert f"[error] {source.name} line {number}: " in err


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.csv", b"", "the file is empty"),
        ("empty.jsonl", b"", "the file is empty"),
        ("blank.jsonl", b"\n \r\n", "the file is empty"),
        ("rubbish.csv", bytes(range(256)) * 40, "NUL"),
        ("gzip.csv", b"\x1f\x8b\x08" + bytes(99), "gzip"),
        ("folder.csv", None, "directory"),
        ("folder.jsonl", None, "directory"),
    ],
)
def test_what_cannot_be_read_at_all_is_one_line(
    questions: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    name: str,
    content: bytes | None,
    said: str,
) -> None:
    source = tmp_path / name
    source.mkdir() if content is None else source.write_bytes(content)
    code, _, err = questions("m3d" if name.endswith("csv") else "neuroqa", source)
    assert code == 3
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out.jsonl").exists()


def test_a_byte_order_mark_and_dos_line_ends_are_no_fault(
    questions: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    source = table(tmp_path / "s.csv", [GOOD], "utf-8-sig", "\r\n")
    assert questions("m3d", source)[0] == 0
    assert len(written(tmp_path)) == 1
    source = lines(tmp_path / "s.jsonl", [LINE], "utf-8-sig")
    assert questions("neuroqa", source)[0] == 0
    assert len(written(tmp_path)) == 1


def test_another_encoding_is_told_without_an_option_that_is_not_there(
    questions: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    for encoding in ("utf-16", "latin-1"):
        source = table(tmp_path / "s.csv", [{**GOOD, "Question": "Où?"}], encoding)
        code, _, err = questions("m3d", source)
        assert code == 3
        assert "save it as UTF-8" in err
        assert "--encoding" not in err
    assert questions("neuroqa", lines(tmp_path / "s.jsonl", [LINE], "utf-16"))[0] == 4


def test_an_endless_line_is_never_held_whole(
    questions: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(m3d, "MAX_LINE_BYTES", 1000)
    monkeypatch.setattr(m3d, "read_table", lambda *a, **k: pytest.fail("it was read"))
    source = table(tmp_path / "s.csv", [GOOD, {**GOOD, "Image Caption": "x" * 2000}])
    code, _, err = questions("m3d", source)
    assert code == 3
    assert "s.csv line 3: the line has more than 1000 bytes" in err


def test_a_wrong_place_to_write_to_is_wrong_use(
    questions: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    source = lines(tmp_path / "s.jsonl", [LINE])
    before = source.read_bytes()
    for out, said in (
        (source, "written over"),
        (tmp_path, "cannot be written"),
        (tmp_path / "v.npy" / "out.jsonl", "cannot be written"),
    ):
        code, _, err = questions("neuroqa", source, out)
        assert code == 2
        assert said in err
    assert source.read_bytes() == before
    assert questions("neuroqa", source, None, "--root", str(tmp_path / "none"))[0] == 2
    assert questions("neuroqa", source, None, "--root", str(source))[0] == 2
