"""A replica of the five cohorts, read back by the readers that read the real downloads."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from replica_files import READERS, Row, key, place, truth

from medblip.cohorts.dataset import DataSet
from medblip.notice import SIMULATED_DATA
from medblip.study.schema import SESSION_COLUMNS, check_sessions
from medblip.study.tables import read_table

# Findings that the plain people's tables give too: notes that something is left alone or inferred.
USUAL = {
    *("extra-column", "unread-table", "unread-file", "age-by-year", "no-diagnosis"),
    *("screening-merged", "row-without-scan", "unverified-zip-name", "craft-not-logical-memory"),
    *("other-series", "visit-by-date", "label-map"),
}


@pytest.fixture(scope="module", params=sorted(READERS))
def cohort(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def found(replica: Path, cohort: str) -> DataSet:
    return READERS[cohort](replica / cohort)


def test_sessions_equal_the_truth_cell_by_cell(replica: Path, cohort: str, found: DataSet) -> None:
    expected = {key(row): row for row in truth(replica, cohort, "sessions")}
    assert len(expected) > 3
    assert {key(row): row for row in found.sessions} == expected
    assert len(found.sessions) == len(expected)


def test_scans_used_and_refused_are_those_of_the_truth(
    replica: Path, cohort: str, found: DataSet
) -> None:
    scans = truth(replica, cohort, "scans")
    refused = {row["path"]: row["finding"] for row in scans if row["stage"] == "reader"}
    assert {f.where.removeprefix(f"{cohort}/"): f.code for f in found.refused} == refused
    taken = {row["path"] for row in scans} - refused.keys()
    assert {place(scan) for scan in found.scans} == taken
    assert found.scans_found == len(scans)


def test_each_scan_is_in_its_session_and_the_best_one_is_primary(
    replica: Path, cohort: str, found: DataSet
) -> None:
    used = [row for row in truth(replica, cohort, "scans") if row["verdict"] == "used"]
    scans = {place(scan): scan for scan in found.scans}
    best: dict[tuple[str, str], int] = {}
    for row in used:
        rank = scans[row["path"]].rank
        best[key(row)] = min(best.get(key(row), rank), rank)
    for row in used:
        scan = scans[row["path"]]
        assert (scan.participant_id, scan.session_id) == key(row)
        assert (row["primary"] == "true") == (scan.rank == best[key(row)]), row


def test_every_planted_trap_is_a_finding_that_says_where_and_what_to_do(
    replica: Path, cohort: str, found: DataSet
) -> None:
    traps = truth(replica, cohort, "traps")
    assert traps
    for trap in traps:
        same = [
            finding
            for finding in found.findings
            if (finding.code, finding.level) == (trap["finding"], trap["level"])
            and finding.where.startswith(trap["where"])
        ]
        assert same, trap
        assert all(f.problem and (f.fix or f.level == "note") for f in same)


def test_nothing_else_is_found(replica: Path, cohort: str, found: DataSet) -> None:
    planted = Counter(trap["finding"] for trap in truth(replica, cohort, "traps"))
    others = [f for f in found.findings if f.code not in planted and f.code not in USUAL]
    assert others == []
    loud = Counter(f.code for f in found.findings if f.level != "note")
    assert {code: count for code, count in loud.items() if count > planted[code]} == {}


def test_the_truth_is_a_valid_sessions_table(replica: Path, cohort: str) -> None:
    path = replica / "ground_truth" / f"{cohort}_sessions.tsv"
    frame = read_table(path)
    assert list(frame.columns) == [column.name for column in SESSION_COLUMNS]
    assert check_sessions(frame) == []


def test_each_folder_says_that_it_is_simulated(replica: Path, cohort: str) -> None:
    text = (replica / cohort / "README.txt").read_text(encoding="utf-8")
    assert SIMULATED_DATA in text
    assert "Image scale 0.07" in text


# ---------------------------------------------------------------- the traps that must be there

PLANTED = {
    "ADNI": {
        *("older-release", "screening-only", "five-digit-id", "missing-codes", "converter"),
        *("dicom-and-nifti", "two-images-in-one-folder", "two-field-strengths", "no-visit"),
        *("contradiction", "out-of-range", "scan-without-row", "lost-slices", "research-group"),
    },
    "NACC": {
        *("missing-codes", "status-2", "status-8", "two-zips", "nan-in-json", "broken-json"),
        *("other-parts", "far-from-visits", "json-without-nifti", "15000-tesla", "dicom-only"),
        *("delivered-twice", "damaged-zip", "odd-voxels", "no-t1", "unknown-status"),
    },
    "OASIS1": {"blank-cdr", "re-test", "lost-half", "scan-without-row", "neurite-copies"},
    "OASIS2": {"converter", "blank-ses", "scan-number-is-not-visit", "stray-file", "stray-copy"},
    "AIBL": {
        *("day-minus-4", "sagittal-series", "unclear-code", "comma-row", "junk-folder"),
        *("missing-codes", "repeat", "odd-series", "scan-without-row"),
    },
    "MIRIAD": {"control-with-high-number", "tenth-visit", "xnat-zip", "unknown-name"},
}


def test_the_traps_of_the_layout_are_planted(replica: Path, cohort: str) -> None:
    rows = [*truth(replica, cohort, "scans"), *truth(replica, cohort, "traps")]
    assert PLANTED[cohort] <= {row["trap"] for row in rows}


def sessions_of(replica: Path, cohort: str, trap: str) -> list[Row]:
    keys = {key(row) for row in truth(replica, cohort, "scans") if row["trap"] == trap}
    return [row for row in truth(replica, cohort, "sessions") if key(row) in keys]


def test_traps_are_what_they_are_called(replica: Path) -> None:
    def values(cohort: str, trap: str, field: str) -> list[str]:
        return [row[field] for row in sessions_of(replica, cohort, trap)]

    assert values("ADNI", "converter", "diagnosis") == ["NC", "MCI"]
    assert values("OASIS2", "converter", "diagnosis") == ["NC", "AD"]
    assert values("OASIS2", "blank-ses", "ses") == [""]
    assert values("OASIS1", "blank-cdr", "cdr_global") == [""]
    assert values("NACC", "status-2", "diagnosis_detail") == ["IMCI"]
    assert values("NACC", "far-from-visits", "match_days") == [""]
    assert values("AIBL", "day-minus-4", "mmse") == ["0"]
    assert values("MIRIAD", "tenth-visit", "visit_code") == ["01", "10"]
    codes = ",".join(values("NACC", "missing-codes", "missing_codes"))
    assert all(code in codes for code in ("=99", "=-4"))
    assert re.search("lm_immediate=9[5-8]", codes)
    codes = ",".join(values("ADNI", "missing-codes", "missing_codes"))
    assert "mmse=-1" in codes
    assert "mmse=-4" in codes
