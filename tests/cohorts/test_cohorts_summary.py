"""Findings as a person reads them: repeated notes counted, nothing lost, a summary that adds up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from vendor_fixtures.oasis2 import make_oasis2

from medblip.cohorts.prepare import PreparedStudy, prepare
from medblip.cohorts.readers import Download
from medblip.cohorts.repeated import FEW, gather, write_findings
from medblip.cohorts.summary import summarise
from medblip.errors import InputError
from medblip.findings import Finding
from medblip.study.tables import read_table, write_table
from medblip.volumes import Preprocessing


def note(number: int, cohort: str = "ADNI", code: str = "thing-noted") -> Finding:
    return Finding(code, "note", f"{cohort}/scan{number}.nii", f"{number} days away", "look")


def test_notes_that_repeat_are_one_line_with_a_count_and_a_list() -> None:
    many = [note(number) for number in range(10)]
    listed, repeated = gather(many)
    ((finding, times),) = listed
    assert times == 10
    assert finding.where == "ADNI/scan0.nii and 9 more, see repeated_notes.tsv"
    assert (finding.problem, finding.fix, finding.level) == ("0 days away", "look", "note")
    assert repeated == many


def test_few_notes_other_cohorts_codes_and_texts_stay_apart() -> None:
    few = [note(number) for number in range(FEW)]
    assert [entry.times for entry in gather(few)[0]] == [1] * FEW
    apart = [
        *(note(n) for n in range(FEW)),
        *(note(n, "NACC") for n in range(FEW)),
        *(note(n, code="other-thing") for n in range(FEW)),
        *(Finding("thing-noted", "note", f"ADNI/{n}", "another text") for n in range(FEW)),
    ]
    listed, repeated = gather(apart)
    assert [entry.finding for entry in listed] == apart
    assert repeated == []


def test_warnings_and_errors_are_never_gathered_and_come_first() -> None:
    wrong = [Finding("bad-thing", "warning", f"ADNI/{n}", "is bad", "mend it") for n in range(9)]
    worse = [Finding("lost-thing", "error", f"ADNI/{n}", "is lost", "find it") for n in range(9)]
    listed, _ = gather([note(1), *wrong, *worse])
    assert [entry.finding for entry in listed] == [*worse, *wrong, note(1)]


def test_every_finding_is_in_one_of_the_two_files(tmp_path: Path) -> None:
    findings = [*(note(n) for n in range(8)), note(1, "NACC"), note(2, "NACC")]
    write_findings(tmp_path, findings)
    lines = read_table(tmp_path / "findings.tsv")
    assert lines["count"].astype(int).sum() == len(findings)
    listed = {*lines["where"], *read_table(tmp_path / "repeated_notes.tsv")["where"]}
    assert {f.where for f in findings} <= listed
    write_findings(tmp_path, findings[8:])
    assert not (tmp_path / "repeated_notes.tsv").exists()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedStudy:
    root = tmp_path_factory.mktemp("summary")
    make_oasis2(root / "data")
    return prepare(
        [Download(root / "data", "oasis")],
        root / "study",
        preprocessing=Preprocessing(size=32),
        cache=root / "cubes",
        workers=1,
        progress=False,
    )


def test_the_summary_adds_up(prepared: PreparedStudy) -> None:
    (cohort,) = summarise(prepared.study).cohorts
    assert (cohort.cohort, cohort.found, cohort.used) == ("OASIS2", prepared.found, prepared.used)
    assert sum(cohort.scans_by_diagnosis.values()) == prepared.used
    assert cohort.sessions == len(prepared.study.sessions)
    assert cohort.subjects == prepared.study.sessions["participant_id"].nunique()
    images = prepared.study.images.merge(prepared.study.sessions, on="session_id")
    assert cohort.scans_by_diagnosis["AD"] == int((images["diagnosis"] == "AD").sum())


def test_the_summary_counts_every_finding_by_level_and_code(prepared: PreparedStudy) -> None:
    codes = summarise(prepared.study).codes
    assert sum(c.count for c in codes) == len(prepared.findings)
    assert [c.level for c in codes] == sorted((c.level for c in codes), key=_rank)
    for entry in codes:
        here = [f for f in prepared.findings if (f.level, f.code) == (entry.level, entry.code)]
        assert entry.count == len(here)
        assert entry.example == " ".join(here[0].problem.split())


def test_a_study_of_an_earlier_version_has_no_counts(prepared: PreparedStudy) -> None:
    file = prepared.folder / "findings.tsv"
    whole = file.read_text(encoding="utf-8")
    lines = read_table(file)
    try:
        write_table(file, lines.drop(columns="count"))
        assert sum(c.count for c in summarise(prepared.study).codes) == len(lines)
    finally:
        file.write_text(whole, encoding="utf-8")


def test_axes_that_the_reader_knows_are_a_note(prepared: PreparedStudy) -> None:
    (entry,) = (c for c in summarise(prepared.study).codes if c.code == "orientation-assumed")
    assert (entry.level, entry.count) == ("note", prepared.used)
    lines = read_table(prepared.folder / "findings.tsv")
    assert np.count_nonzero(lines["code"] == "orientation-assumed") == 1


def test_a_damaged_audit_is_named(prepared: PreparedStudy) -> None:
    file = prepared.folder / "audit.json"
    whole = file.read_text(encoding="utf-8")
    try:
        file.write_text("{", encoding="utf-8")
        with pytest.raises(InputError, match=r"audit\.json"):
            summarise(prepared.study)
    finally:
        file.write_text(whole, encoding="utf-8")


def _rank(level: str) -> int:
    return ("error", "warning", "note").index(level)
