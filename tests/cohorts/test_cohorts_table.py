"""A table of one's own: the map, what its codes mean, and what is asked back."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from vendor_fixtures.small_files import csv_file, write
from vendor_fixtures.table import MAP, MAPPING, TABLE, VALUES, make_table, row

from medblip.cohorts.dataset import DataSet
from medblip.cohorts.table import TableMap, parse_map, parse_values, read_map, read_mapped_table
from medblip.errors import InputError, UsageError
from medblip.volumes.reading import read_volume

SIMPLE = {"participant_id": "ID", "path": "FILE", "diagnosis": "DX"}


def simple(root: Path, *rows: dict[str, str], scans: bool = True) -> Path:
    """A table of ID, FILE and DX with empty scans."""
    csv_file(root / "t.csv", rows)
    for cells in rows if scans else ():
        write(root / cells["FILE"], b"")
    return root


def cells(person: str, file: str = "", dx: str = "NC", **more: str) -> dict[str, str]:
    return {"ID": person, "FILE": file or f"{person}.nii", "DX": dx, **more}


def read(root: Path, **changes: object) -> DataSet:
    mapping = TableMap(**{"cohort": "MINE", "columns": SIMPLE, **changes})  # type: ignore[arg-type]
    return read_mapped_table(root, mapping=mapping)


def codes(found: DataSet) -> Counter[str]:
    return Counter(f.code for f in found.findings)


def test_every_scan_opens_wherever_it_lies(tmp_path: Path) -> None:
    make_table(tmp_path)
    found = read_mapped_table(tmp_path, mapping=MAPPING)
    assert {s.format for s in found.scans} == {"nifti", "analyze"}
    for scan in found.scans:
        orientation = "LAS" if scan.format == "analyze" else None
        volume = read_volume(tmp_path / scan.path, root=tmp_path, assume_orientation=orientation)
        assert volume.array.shape == (24, 28, 20)


def test_the_yaml_map_and_the_options_say_the_same(tmp_path: Path) -> None:
    text = f"""
cohort: CLINIC
table: {TABLE}
columns: {{{", ".join(f"{name}: {column}" for name, column in MAP.items())}}}
values:
  DX: {{1: NC, 2: MCI, 3: AD, 4: OTHER, -9: }}
  GENDER: {{w: F, m: M}}
  MMSE_SUM: {{-7: ""}}
"""
    path = write(tmp_path / "map.yaml", text.encode())
    assert read_map(path) == MAPPING
    typed = parse_map(",".join(f"{name}={column}" for name, column in MAP.items()))
    values = [
        f"{column}:{','.join(f'{text}={value}' for text, value in pairs.items())}"
        for column, pairs in VALUES.items()
    ]
    assert TableMap("CLINIC", typed, parse_values(values), table=TABLE) == MAPPING


# ---------------------------------------------------------------- codes


def test_all_unknown_codes_are_listed_at_once(tmp_path: Path) -> None:
    rows = [cells("1", dx="1"), cells("2", dx="5"), cells("3", dx="6"), cells("4", dx="5")]
    root = simple(tmp_path, *rows, cells("5", dx=""))
    with pytest.raises(InputError) as caught:
        read(root, values={"DX": {"1": "NC", "2": "AD"}})
    assert caught.value.code == "unknown-value"
    assert caught.value.where == "t.csv"
    assert "'5' (2), '6' (1)" in caught.value.problem
    assert "known are 1, 2" in caught.value.fix
    assert "--values DX:5=" in caught.value.fix


@pytest.mark.parametrize("dx", ["EMCI", "NonDemented", "nc", "0"])
def test_a_diagnosis_is_never_guessed_from_its_letters(tmp_path: Path, dx: str) -> None:
    with pytest.raises(InputError) as caught:
        read(simple(tmp_path, cells("1", dx=dx)))
    assert caught.value.code == "unknown-value"


@pytest.mark.parametrize(
    ("dx", "label"), [("CN", "NC"), ("Dementia", "AD"), ("MCI", "MCI"), ("n/a", ""), ("", "")]
)
def test_usual_names_of_diagnoses_need_no_values(tmp_path: Path, dx: str, label: str) -> None:
    (found,) = read(simple(tmp_path, cells("1", dx=dx))).sessions
    assert found["diagnosis"] == label
    assert found["diagnosis_source"] == (f"DX={dx}" if label else "")


def test_values_may_be_given_for_the_field_or_the_column(tmp_path: Path) -> None:
    root = simple(tmp_path, cells("1", dx="7"))
    for name in ("DX", "diagnosis"):
        assert read(root, values={name: {"7": "MCI"}}).sessions[0]["diagnosis"] == "MCI"


def test_codes_of_numbers_are_missing_and_others_stay(tmp_path: Path) -> None:
    root = simple(tmp_path, cells("1", M="88"), cells("2", M="27"), cells("3", M="89"))
    found = read(root, columns={**SIMPLE, "mmse": "M"}, values={"M": {"88": ""}})
    assert [row["mmse"] for row in found.sessions] == ["", "27", ""]
    assert [row["missing_codes"] for row in found.sessions] == ["mmse=88", "", ""]
    (warning,) = (f for f in found.findings if f.code == "out-of-range")
    assert warning.where == "MINE/t.csv line 4, field M"


# ---------------------------------------------------------------- rows


def test_rows_of_one_session_are_runs_and_must_agree(tmp_path: Path) -> None:
    columns = {**SIMPLE, "session_id": "VISIT", "run": "RUN"}
    root = simple(
        tmp_path,
        cells("1", "b.nii", VISIT="v1", RUN="2"),
        cells("1", "a.nii", VISIT="v1", RUN="1"),
        cells("2", "c.nii", VISIT="v1", RUN="1"),
        cells("2", "d.nii", dx="AD", VISIT="v1", RUN="2"),
    )
    found = read(root, columns=columns)
    assert [(s.path, s.rank, s.run) for s in found.scans] == [("a.nii", 0, 1), ("b.nii", 1, 2)]
    assert {f.where: f.code for f in found.refused} == {
        "MINE/c.nii": "session-conflict",
        "MINE/d.nii": "session-conflict",
    }


def test_without_a_session_column_each_subject_has_one(tmp_path: Path) -> None:
    found = read(simple(tmp_path, cells("1", "a.nii"), cells("1", "b.nii"), cells("0012", "c.nii")))
    keys = [(row["participant_id"], row["session_id"]) for row in found.sessions]
    assert keys == [("MINE-1", "single"), ("MINE-0012", "single")]
    assert [s.run for s in found.scans] == [1, 2, 1]


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("/etc/hosts.nii", "unsafe-path"),
        ("a/../../b.nii", "unsafe-path"),
        ("C:/b.nii", "unsafe-path"),
        ("a\\b.nii", "unsafe-path"),
        ("gone.nii", "missing-file"),
        ("notes.txt", "unsupported-format"),
        ("pack.zip/x.nii", "missing-file"),
    ],
)
def test_a_path_that_is_no_scan_of_the_folder(tmp_path: Path, file: str, code: str) -> None:
    simple(tmp_path, cells("1"), cells("2", file), scans=False)
    write(tmp_path / "1.nii", b"")
    write(tmp_path / "notes.txt", b"")
    (refused,) = read(tmp_path).refused
    assert refused.code == code
    assert "t.csv line 3" in refused.problem
    assert refused.fix


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    simple(tmp_path / "in", cells("1"), scans=False)
    (tmp_path / "in/1.nii").symlink_to(write(tmp_path / "secret.nii", b""))
    (refused,) = read(tmp_path / "in").refused
    assert refused.code == "outside-root"


def test_a_folder_of_slices_is_a_scan(tmp_path: Path) -> None:
    simple(tmp_path, cells("1", "one/slices"), scans=False)
    write(tmp_path / "one/slices/0001.dcm", b"")
    (scan,) = read(tmp_path).scans
    assert (scan.path, scan.format) == ("one/slices", "dicom")


def test_a_row_without_a_path_is_listed(tmp_path: Path) -> None:
    root = simple(tmp_path, cells("1"), {**cells("2"), "FILE": ""}, scans=False)
    write(root / "1.nii", b"")
    found = read(root)
    assert (len(found.scans), codes(found)["row-without-scan"]) == (1, 1)


def test_days_between_scan_and_visit(tmp_path: Path) -> None:
    columns = {**SIMPLE, "scan_date": "S", "clinical_date": "C"}
    root = simple(
        tmp_path,
        cells("1", S="12/31/2019", C="1/1/2020"),
        cells("2", S="12/31/2019", C="12/1/2020"),
    )
    found = read(root, columns=columns, date_order="month-first")
    (session,) = found.sessions
    assert (session["scan_date"], session["match_days"]) == ("2019-12-31", "-1")
    assert [f.code for f in found.refused] == ["out-of-range"]


def test_both_orders_of_dates_in_one_column_are_an_error(tmp_path: Path) -> None:
    root = simple(tmp_path, cells("1", S="13/02/2019"), cells("2", S="02/13/2019"))
    with pytest.raises(InputError) as caught:
        read(root, columns={**SIMPLE, "scan_date": "S"})
    assert caught.value.code == "mixed-dates"


# ---------------------------------------------------------------- the map


def test_a_column_that_is_not_there_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'DX'") as caught:
        read(simple(tmp_path, cells("1")), columns={**SIMPLE, "diagnosis": "DXX"})
    assert caught.value.code == "missing-column"


def test_several_tables_need_a_choice(tmp_path: Path) -> None:
    root = simple(tmp_path, cells("1"))
    csv_file(root / "u.csv", [cells("1", dx="AD")])
    with pytest.raises(UsageError, match=r"t\.csv, u\.csv"):
        read(root)
    assert read(root, table="u.csv").sessions[0]["diagnosis"] == "AD"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"columns": {"participant_id": "ID", "path": "P", "agee": "A"}}, "did you mean 'age'"),
        ({"columns": {"participant_id": "ID"}}, "no column is given for path"),
        ({"values": {"DY": {"1": "NC"}}}, "values are given for 'DY'"),
        ({"values": {"DX": {"1": "EMCI"}}}, "'1' becomes 'EMCI'"),
        ({"date_order": "American"}, "use one of iso, month-first, day-first"),
        ({"cohort": "My clinic"}, "cohort is 'My clinic'"),
    ],
)
def test_a_wrong_map_is_refused_before_reading(changes: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        TableMap(**{"cohort": "MINE", "columns": SIMPLE, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["age", "=AGE", "age=", "age=A,age=B"])
def test_what_is_no_map(text: str) -> None:
    with pytest.raises(UsageError):
        parse_map(text)


@pytest.mark.parametrize("texts", [["DX"], ["DX:1"], [":1=NC"], ["DX:1=NC", "DX:2=AD"]])
def test_what_is_no_list_of_values(texts: list[str]) -> None:
    with pytest.raises(UsageError):
        parse_values(texts)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a: [", "bad-yaml"),
        ("- a", "bad-yaml"),
        ("cohort: A\ncolumns: {}\nvaluess: {}", "unknown-name"),
        ("cohort: A", "missing-name"),
        ("cohort: A\ncolumns: ID", "bad-yaml"),
        ("cohort: {a: b}\ncolumns: {}", "bad-yaml"),
        ("cohort: A\ncolumns: {participant_id: yes}", "bad-yaml"),
        ("cohort: A\ncolumns: {participant_id: !!python/name:os.system x}", "bad-yaml"),
    ],
)
def test_what_is_no_yaml_map(tmp_path: Path, text: str, code: str) -> None:
    with pytest.raises(InputError) as caught:
        read_map(write(tmp_path / "map.yaml", text.encode()))
    assert caught.value.code == code


def test_people_keep_the_zeros_of_their_numbers(tmp_path: Path) -> None:
    make_table(tmp_path)
    assert row("007", "x")["PERSON"] == "007"
    people = {r["participant_id"] for r in read_mapped_table(tmp_path, mapping=MAPPING).sessions}
    assert "CLINIC-007" in people
