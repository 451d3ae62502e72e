"""Columns of a study: what is accepted, in which form it is kept, and what is refused."""

from __future__ import annotations

import pandas as pd
import pytest

from medblip.errors import InputError
from medblip.study.labels import ANSWERS, DIAGNOSES, LABELS, label_of
from medblip.study.missing import ANY, MISSING_CODES, split_missing
from medblip.study.schema import (
    IMAGE_COLUMNS,
    SESSION_COLUMNS,
    SESSION_FIELDS,
    check_images,
    check_sessions,
    require,
)


def session(**changes: str) -> dict[str, str]:
    row = dict.fromkeys(SESSION_FIELDS, "")
    row.update(
        cohort="SIM-A", participant_id="SIM-A-1", session_id="ses-01", label_defined_by="cdr_global"
    )
    return {**row, **changes}


def image(**changes: str) -> dict[str, str]:
    row = {
        "participant_id": "SIM-A-1",
        "session_id": "ses-01",
        "run": "1",
        "kind": "raw",
        "format": "nifti",
        "path": "sub-1/anat/a.nii.gz",
        "shape": "24x24x24",
        "voxel_mm": "1x1x1.2",
        "axcodes": "RAS",
        "sha256": "0" * 64,
        "primary": "true",
        "cube": "0a.safetensors",
    }
    return {**row, **changes}


def table(*rows: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, dtype=str, index=range(2, 2 + len(rows)))


@pytest.mark.parametrize(
    ("field", "written", "kept"),
    [
        ("mmse", "27.0", "27"),
        ("mmse", "0", "0"),
        ("age", "071.50", "71.5"),
        ("cdr_global", "0.50", "0.5"),
        ("cdr_sb", "4.5", "4.5"),
        ("match_days", "-12", "-12"),
        ("match_days", "-0", "0"),
        ("scan_date", "2015-03-04T10:00:00", "2015-03-04"),
        ("sex", "", ""),
    ],
)
def test_values_are_kept_in_one_form(field: str, written: str, kept: str) -> None:
    assert SESSION_FIELDS[field].parse(written, "t") == kept


@pytest.mark.parametrize(
    ("field", "written", "code", "expected"),
    [
        ("mmse", "31", "out-of-range", "integer from 0 to 30"),
        ("mmse", "-4", "out-of-range", "integer from 0 to 30"),
        ("mmse", "26.5", "not-an-integer", "integer"),
        ("mmse", "27,5", "not-a-number", "decimal point"),
        ("mmse", "nan", "not-a-number", "integer"),
        ("mmse", "1e1", "not-a-number", "integer"),
        ("mmse", "\uff127", "not-a-number", "integer"),
        ("age", "17", "out-of-range", "from 18 to 120"),
        ("cdr_global", "0.25", "out-of-range", "0, 0.5, 1, 2, 3"),
        ("cdr_sb", "0.7", "out-of-range", "steps of 0.5"),
        ("sex", "female", "unknown-value", "F, M"),
        ("diagnosis", "EMCI", "unknown-value", "NC, MCI, AD, OTHER"),
        ("scan_date", "03/04/2015", "date-format", "YYYY-MM-DD"),
        ("match_days", "183", "out-of-range", "-182 to 182"),
        ("participant_id", "", "missing-value", "participant_id"),
        ("participant_id", "../1", "bad-form", "participant_id"),
    ],
)
def test_other_values_are_refused(field: str, written: str, code: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        SESSION_FIELDS[field].parse(written, "sessions.tsv line 7")
    assert caught.value.code == code
    assert expected in str(caught.value)
    assert field in str(caught.value) or "date" in field
    assert "sessions.tsv line 7" in str(caught.value)


def test_a_good_study_has_no_finding() -> None:
    assert check_sessions(table(session(mmse="27", sex="F", diagnosis="NC"))) == []
    assert check_images(table(image())) == []


def test_all_breaches_are_listed_at_once_with_their_lines() -> None:
    rows = table(session(), session(session_id="ses-02", mmse="99", sex="x"))
    findings = check_sessions(rows)
    assert [(f.code, f.where) for f in findings] == [
        ("unknown-value", "sessions.tsv line 3"),
        ("out-of-range", "sessions.tsv line 3"),
    ]
    with pytest.raises(InputError) as caught:
        require(findings)
    assert caught.value.code == "unknown-value"
    assert "and 1 more" in str(caught.value)


@pytest.mark.parametrize("column", SESSION_COLUMNS, ids=lambda column: column.name)
def test_each_session_column_is_needed(column: object) -> None:
    name = column.name  # type: ignore[attr-defined]
    findings = check_sessions(table(session()).drop(columns=name))
    assert ("missing-column", f"column {name!r} is missing") in [
        (f.code, f.problem) for f in findings
    ]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"path": "../other/a.nii.gz"}, "unsafe-path"),
        ({"path": "/etc/passwd"}, "unsafe-path"),
        ({"path": "C:\\a.nii"}, "unsafe-path"),
        ({"cube": "../0a.safetensors"}, "bad-form"),
        ({"cube": "0a.bin"}, "bad-form"),
        ({"primary": "false"}, "primary-image"),
        ({"primary": "yes"}, "unknown-value"),
        ({"shape": "24x24"}, "bad-form"),
        ({"sha256": ""}, "missing-value"),
    ],
)
def test_bad_image_rows_are_found(changes: dict[str, str], code: str) -> None:
    assert [finding.code for finding in check_images(table(image(**changes)))] == [code]


def test_two_primary_images_of_a_session_are_found() -> None:
    (finding,) = check_images(table(image(), image(path="b.nii.gz")))
    assert finding.code == "primary-image"


def test_participant_ids_start_with_the_cohort() -> None:
    (finding,) = check_sessions(table(session(participant_id="SIM-B-1")))
    assert (finding.code, finding.where) == ("cohort-prefix", "sessions.tsv line 2")


@pytest.mark.parametrize("cohort", MISSING_CODES)
def test_no_missing_code_is_a_possible_value(cohort: str) -> None:
    for field, codes in MISSING_CODES[cohort].items():
        free_text = field in (ANY, "site")  # no site is called -4
        for code in () if free_text else codes:
            with pytest.raises(InputError):
                SESSION_FIELDS[field].parse(code, field)


def test_missing_codes_are_kept_and_never_values() -> None:
    fields = {"mmse": "-4", "lm_delayed": "888", "age": "n/a", "ses": "", "cdr_global": "0"}
    values, missing = split_missing(fields, MISSING_CODES["bids"])
    assert values == {"cdr_global": "0"}
    assert missing == {"mmse": "-4", "lm_delayed": "888", "age": "n/a"}
    assert split_missing({"mmse": "-4.0"}, MISSING_CODES["bids"])[0] == {}
    assert split_missing({"age": "88"}, MISSING_CODES["bids"])[0] == {"age": "88"}


def test_diagnoses_are_mapped_exactly() -> None:
    assert {name: label_of(name, "t") for name in DIAGNOSES} == {
        "CN": "NC",
        "NC": "NC",
        "MCI": "MCI",
        "AD": "AD",
        "Dementia": "AD",
        "OTHER": "OTHER",
    }
    assert tuple(ANSWERS) == LABELS == ("NC", "MCI", "AD")


@pytest.mark.parametrize("name", ["EMCI", "LMCI", "NonDemented", "mci", "", "healthy control"])
def test_unknown_diagnosis_lists_what_is_accepted(name: str) -> None:
    with pytest.raises(InputError) as caught:
        label_of(name, "x_sessions.tsv line 2, field diagnosis")
    assert caught.value.code == "unknown-diagnosis"
    assert "CN, NC, MCI, AD, Dementia" in str(caught.value)


def test_image_columns_are_those_of_the_design() -> None:
    assert [column.name for column in IMAGE_COLUMNS] == list(image())
