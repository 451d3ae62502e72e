"""The command line as a user meets it: exit codes, one line per error, help with examples."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from known_faults import FAULTS, Fault
from medblip import cli


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of ``medblip ARGUMENTS``."""
    monkeypatch.setattr(sys, "argv", ["medblip", *arguments])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_ask_refuses_each_faulty_scan_with_exit_code_3_and_a_line(
    fault: Fault,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scan = fault.make(tmp_path)
    before = sorted(p.name for p in tmp_path.rglob("*"))
    assert run(["ask", str(scan)], monkeypatch) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert fault.says in " ".join(said.err.split())
    assert "Traceback" not in said.err
    assert sorted(p.name for p in tmp_path.rglob("*")) == before  # nothing lost, nothing left


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["ask"], 2, "Missing argument"),
        (["ask", "x.nii", "--nope"], 2, "No such option"),
        (["ask", "x.nii", "--record", "a", "--fields", "age=1"], 2, "give one of them"),
        (["ask", "x.nii", "--fields", "agee=70"], 2, "age"),
        (["ask", "x.nii", "--fields", "mmse=31"], 3, "mmse"),
        (["ask", "absent.nii"], 3, "absent.nii"),
        (["train", "embeded", "--study", "s", "--out", "o"], 3, "no such recipe"),
        (["train", "embedded", "--study", "s", "--out", "o", "tune.step=3"], 3, "steps"),
        (["evaluate", "nowhere", "--study", "s"], 3, "study.json"),
        (["audit", "nowhere"], 3, "study.json"),
        (["prepare", "nowhere", "--out", "o"], 3, "nowhere"),
        (["nonsense"], 2, "No such command"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_use_and_bad_input_have_their_exit_codes(
    arguments: list[str],
    code: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments, monkeypatch) == code
    said = capsys.readouterr()
    assert words in " ".join((said.err + said.out).split())
    assert "Traceback" not in said.err


def test_interrupting_says_that_the_same_command_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", stopped)
    assert run(["demo"], monkeypatch) == 130
    assert "goes on from here" in capsys.readouterr().err


def test_version_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--version"], monkeypatch) == 0
    assert capsys.readouterr().out.startswith("medblip ")
