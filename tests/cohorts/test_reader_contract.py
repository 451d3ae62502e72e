"""What holds for every reader of a raw download; a new reader adds one line to ``READERS``."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from vendor_fixtures.adni import ADNIMERGE, NEW_ADNIMERGE, make_adni
from vendor_fixtures.aibl import PDXCONV, make_aibl
from vendor_fixtures.miriad import SCANS, make_miriad
from vendor_fixtures.nacc import make_nacc
from vendor_fixtures.nacc_rows import UDS
from vendor_fixtures.oasis1 import OLD_TABLE as OLD_TABLE1
from vendor_fixtures.oasis1 import make_oasis1
from vendor_fixtures.oasis2 import OLD_TABLE as OLD_TABLE2
from vendor_fixtures.oasis2 import make_oasis2
from vendor_fixtures.table import MAPPING, TABLE, make_table
from vendor_fixtures.truth import Truth

from medblip.cohorts.adni import read_adni
from medblip.cohorts.aibl import read_aibl
from medblip.cohorts.dataset import DataSet
from medblip.cohorts.miriad import read_miriad
from medblip.cohorts.nacc import read_nacc
from medblip.cohorts.oasis import read_oasis1, read_oasis2
from medblip.cohorts.table import read_mapped_table
from medblip.errors import InputError
from medblip.study.schema import SESSION_COLUMNS, SESSION_FIELDS, check_sessions


@dataclass(frozen=True)
class Reader:
    """One reader with its fixture.

    Attributes:
        name: for the test's name.
        read: the reader.
        make: writes a raw download with its traps, and says what is in it.
        table: the CSV the reader cannot do without; below the download.
        also: other tables to remove where the absence of ``table`` alone would be made up for.
        damaged_row: line of ``table`` whose copy with another ``changed`` column is a
            contradiction.
        changed: that column.
    """

    name: str
    read: Callable[..., DataSet]
    make: Callable[[Path], Truth]
    table: str
    also: tuple[str, ...] = ()
    damaged_row: int = 2
    changed: str = ""


READERS = [
    Reader("adni", read_adni, make_adni, ADNIMERGE, ("DXSUM*",), changed="DX"),
    Reader(
        "adni-newer", read_adni, partial(make_adni, old=False), NEW_ADNIMERGE, ("DXSUM*",), 2, "DX"
    ),
    Reader("aibl", read_aibl, make_aibl, PDXCONV, ("*pdxconv*",), changed="DXCURREN"),
    Reader("nacc", read_nacc, make_nacc, UDS, ("commercial_*",), 3, "NACCUDSD"),
    Reader("oasis1", read_oasis1, partial(make_oasis1, old_table=True), OLD_TABLE1, (), 2, "CDR"),
    Reader("oasis2", read_oasis2, partial(make_oasis2, old_table=True), OLD_TABLE2, (), 2, "CDR"),
    Reader("miriad", read_miriad, make_miriad, SCANS, (), 4, "Age"),
    Reader("miriad-b", read_miriad, partial(make_miriad, variant="B"), SCANS, (), 4, "Age"),
    Reader("table", partial(read_mapped_table, mapping=MAPPING), make_table, TABLE, (), 5, "DX"),
]

OASIS2 = "Subject ID,MRI ID,Group,Visit,MR Delay,M/F,Hand,Age,EDUC,SES,MMSE,CDR,eTIV,nWBV,ASF\n"
NACC = "NACCID,NACCADC,PACKET,NACCVNUM,NACCUDSD\nNACC900001,1,I,1,1\n"


@dataclass(frozen=True)
class Download:
    """A fixture as it was written and read once."""

    reader: Reader
    root: Path
    truth: Truth
    found: DataSet


@pytest.fixture(scope="module", params=READERS, ids=lambda reader: reader.name)
def download(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Download:
    reader: Reader = request.param
    root = tmp_path_factory.mktemp(reader.name) / "download"
    root.mkdir()
    truth = reader.make(root)
    return Download(reader, root, truth, reader.read(root))


@pytest.fixture
def copy(download: Download, tmp_path: Path) -> Path:
    """The download, to be damaged."""
    return Path(shutil.copytree(download.root, tmp_path / "copy", symlinks=True))


# ---------------------------------------------------------------- the truth, cell by cell


def test_every_session_is_found_with_its_values(download: Download) -> None:
    left_out = {"cohort", "participant_id", "session_id", "label_defined_by"}
    rows = {
        (row["participant_id"], row["session_id"]): {
            name: value for name, value in row.items() if value and name not in left_out
        }
        for row in download.found.sessions
    }
    assert len(rows) == len(download.found.sessions)
    assert rows == download.truth.sessions


def test_every_scan_is_found_in_order_of_preference(download: Download) -> None:
    scans: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for scan in download.found.scans:
        key = (scan.participant_id, scan.session_id)
        scans.setdefault(key, []).append((scan.rank, name_of(scan.path, scan.files)))
    for ranked in scans.values():
        assert sorted(rank for rank, _ in ranked) == list(range(len(ranked)))
    assert {key: [n for _, n in sorted(s)] for key, s in scans.items()} == download.truth.scans


def test_every_scan_found_is_used_or_refused_once(download: Download) -> None:
    refused = {strip(download, f.where): f.code for f in download.found.refused}
    assert len(refused) == len(download.found.refused)
    assert {f.level for f in download.found.refused} <= {"error"}
    expected = download.truth.refused
    assert refused.keys() == expected.keys()
    wrong = {p: c for p, c in refused.items() if expected[p] not in (c, "*")}
    assert wrong == {}
    used = {name_of(scan.path, scan.files) for scan in download.found.scans}
    assert len(used) == len(download.found.scans)
    assert not used & refused.keys()
    assert download.found.scans_found == len(used) + len(refused)


def test_every_trap_is_a_finding(download: Download) -> None:
    assert Counter(f.code for f in download.found.findings) == download.truth.findings


def test_every_finding_says_where_what_and_what_to_do(download: Download) -> None:
    for finding in [*download.found.findings, *download.found.refused]:
        assert re.fullmatch("[a-z0-9]+(-[a-z0-9]+)+", finding.code)
        assert finding.where.startswith(f"{download.truth.cohort}/"), finding
        assert finding.problem
        assert finding.fix or finding.level == "note", finding
        assert str(download.root) not in str(finding)


# ---------------------------------------------------------------- rows are rows of a study


def test_rows_are_valid_and_say_how_they_came(download: Download) -> None:
    frame = pd.DataFrame(download.found.sessions, dtype=str)
    assert list(frame.columns) == [column.name for column in SESSION_COLUMNS]
    assert check_sessions(frame) == []
    for row in download.found.sessions:
        for name, text in row.items():
            assert SESSION_FIELDS[name].parse(text, name) == text  # already canonical
        assert row["participant_id"].startswith(f"{download.truth.cohort}-")
        assert bool(row["diagnosis"]) == bool(row["diagnosis_source"])
        assert row["label_defined_by"]
        if row["diagnosis"]:
            assert re.fullmatch("[^=]+=[^=]+", row["diagnosis_source"])
        for pair in filter(None, row["missing_codes"].split(",")):
            name, _, code = pair.partition("=")
            assert code
            assert row[name] == ""
    assert {row["cohort"] for row in download.found.sessions} == {download.found.cohort}


def test_scans_belong_to_sessions_and_lie_in_the_download(download: Download) -> None:
    keys = {(row["participant_id"], row["session_id"]) for row in download.found.sessions}
    assert {(scan.participant_id, scan.session_id) for scan in download.found.scans} == keys
    for scan in download.found.scans:
        assert not scan.path.startswith("/")
        assert ".." not in scan.path.split("/")
        if not re.search(r"\.(zip|tar|tgz|tar\.gz)/", scan.path):
            assert (download.root / scan.path).exists()
        if scan.files:
            assert list((download.root / scan.path).glob(scan.files))


def test_no_person_has_two_names(download: Download) -> None:
    """A subject's scans share one participant_id, however their files spell it."""
    names = {row["participant_id"].casefold() for row in download.found.sessions}
    assert len(names) == len({row["participant_id"] for row in download.found.sessions})


# ---------------------------------------------------------------- nothing else matters


def test_reading_again_and_elsewhere_gives_the_same(download: Download, copy: Path) -> None:
    again = download.reader.read(download.root)
    assert again == download.found
    moved = download.reader.read(copy)
    assert (moved.sessions, moved.scans) == (download.found.sessions, download.found.scans)
    assert (moved.tables, moved.records_sha256) == (again.tables, again.records_sha256)
    assert moved.tables
    assert moved.records_sha256


def test_the_download_is_never_written_to(download: Download, copy: Path) -> None:
    before = snapshot(copy)
    for path in [*copy.rglob("*"), copy]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        download.reader.read(copy)
    finally:
        for path in [copy, *copy.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert snapshot(copy) == before


def test_an_extra_column_changes_nothing_and_is_noted(download: Download, copy: Path) -> None:
    rewrite(copy / download.reader.table, lambda n, line: f"{line},{'extra_9' if n == 1 else 'x'}")
    found = download.reader.read(copy)
    assert found.sessions == download.found.sessions
    notes = [f for f in found.findings if f.code == "extra-column" and "extra_9" in f.problem]
    assert [note.level for note in notes] == ["note"]
    assert found.records_sha256 != download.found.records_sha256


# ---------------------------------------------------------------- broken downloads


def test_latin_1_is_refused_with_its_line_and_read_when_named(
    download: Download, copy: Path
) -> None:
    table = copy / download.reader.table
    rewrite(table, lambda n, line: f"{line},{'Zoë' if n > 1 else 'remark'}", encoding="latin-1")
    error = refusal(download, copy)
    assert error.code == "wrong-encoding"
    assert f"{download.reader.table} line 2" in error.where
    assert "--encoding" in error.fix
    assert download.reader.read(copy, encoding="latin-1").sessions == download.found.sessions


def test_a_cut_table_is_refused_with_its_line(download: Download, copy: Path) -> None:
    table = copy / download.reader.table
    data = table.read_bytes().rstrip()
    table.write_bytes(data[: data.rindex(b",")])
    error = refusal(download, copy)
    assert error.code in ("ragged-row", "unclosed-quote")
    assert " line " in error.where


def test_a_table_without_rows_is_refused(download: Download, copy: Path) -> None:
    table = copy / download.reader.table
    table.write_bytes(table.read_bytes().splitlines(keepends=True)[0])
    assert refusal(download, copy).code == "header-only"


def test_equal_rows_change_nothing(download: Download, copy: Path) -> None:
    table = copy / download.reader.table
    line = table.read_text("utf-8").splitlines()[download.reader.damaged_row - 1]
    table.write_text(f"{table.read_text('utf-8')}{line}\n", encoding="utf-8")
    found = download.reader.read(copy)
    assert found.sessions == download.found.sessions
    assert Counter(f.code for f in found.findings)["repeated-row"] == 1


def test_contradicting_rows_are_never_chosen_from(download: Download, copy: Path) -> None:
    table = copy / download.reader.table
    lines = table.read_text("utf-8").splitlines()
    cells = lines[download.reader.damaged_row - 1].split(",")
    cells[lines[0].split(",").index(download.reader.changed)] = ""
    table.write_text("\n".join([*lines, ",".join(cells)]) + "\n", encoding="utf-8")
    found = download.reader.read(copy)
    assert found.scans_found == download.found.scans_found
    (error,) = (f for f in [*found.findings, *found.refused] if f.code == "duplicate-row")
    assert error.level == "error"
    assert str(download.reader.damaged_row) in error.where
    assert len(lines) + 1 == int(error.where.rsplit(" ", 1)[-1])
    assert found.sessions != download.found.sessions


@pytest.mark.parametrize(("name", "text"), [("OASIS-2", OASIS2), ("NACC", NACC)])
def test_another_cohorts_table_is_named(
    download: Download, copy: Path, name: str, text: str
) -> None:
    if name.replace("-", "") == download.truth.cohort:
        pytest.skip("it is its own table")
    remove_tables(download.reader, copy)
    (copy / "table.csv").write_text(text)
    error = refusal(download, copy)
    assert error.code == "other-cohort"
    assert f"table of {name}" in error.problem
    assert f"medblip prepare {name.split('-', 1)[0].lower()}" in error.fix


def test_an_absent_table_an_empty_folder_and_no_folder(
    download: Download, copy: Path, tmp_path: Path
) -> None:
    remove_tables(download.reader, copy)
    assert refusal(download, copy).code == "absent-table"
    (tmp_path / "empty").mkdir()
    assert refusal(download, tmp_path / "empty").code == "absent-table"
    assert refusal(download, tmp_path / "none").code == "no-data-set"


# ---------------------------------------------------------------- help


def name_of(path: str, files: str) -> str:
    return f"{path}/{files}" if files else path


def strip(download: Download, where: str) -> str:
    return where.removeprefix(f"{download.truth.cohort}/")


def refusal(download: Download, root: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        download.reader.read(root)
    assert caught.value.fix
    return caught.value


def remove_tables(reader: Reader, root: Path) -> None:
    for pattern in (reader.table, *reader.also):
        for path in root.rglob(pattern):
            path.unlink()


def rewrite(path: Path, change: Callable[[int, str], str], encoding: str = "utf-8") -> None:
    """Change each line of a table; lines count from 1."""
    lines = path.read_text("utf-8").splitlines()
    text = "\n".join(change(number, line) for number, line in enumerate(lines, start=1))
    path.write_bytes(f"{text}\n".encode(encoding))


def snapshot(root: Path) -> dict[str, tuple[int, str]]:
    return {
        path.relative_to(root).as_posix(): (
            path.lstat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in root.rglob("*")
    }
