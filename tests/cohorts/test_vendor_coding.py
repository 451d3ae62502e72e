"""One cell, one meaning: codes, ranges, missing codes, days; and the visit of a scan."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medblip.cohorts.bids_rows import Cell
from medblip.cohorts.coding import SessionValues, decode, decode_date
from medblip.cohorts.visits import WINDOW_DAYS, days_after, nearest_visit
from medblip.errors import InputError
from medblip.findings import Finding
from medblip.study.missing import ADNI
from medblip.study.schema import SESSION_COLUMNS


def cell(text: str, column: str = "X") -> Cell:
    return Cell(text, column, f"t.csv line 2, field {column}")


# ---------------------------------------------------------------- one cell


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("mmse", "27", "27"),
        ("mmse", "27.0", "27"),
        ("mmse", "0", "0"),
        ("mmse", "-4", ""),
        ("mmse", "-1", ""),
        ("mmse", "-4.0", ""),
        ("mmse", "", ""),
        ("cdr_global", "0.5", "0.5"),
    ],
)
def test_a_cell_is_a_value_or_missing(field: str, text: str, value: str) -> None:
    assert decode(field, cell(text), ADNI) == value


@pytest.mark.parametrize(
    ("field", "text", "code"),
    [
        ("mmse", "31", "out-of-range"),
        ("mmse", "88", "out-of-range"),
        ("mmse", "27.5", "not-an-integer"),
        ("mmse", "n.a.", "not-a-number"),
        ("cdr_global", "4", "out-of-range"),
    ],
)
def test_anything_else_is_an_error_with_its_place(field: str, text: str, code: str) -> None:
    with pytest.raises(InputError) as caught:
        decode(field, cell(text), ADNI)
    assert (caught.value.code, caught.value.where) == (code, "t.csv line 2, field X")


def test_codes_are_exact() -> None:
    codes = {"1": "M", "2": "F"}
    assert decode("sex", cell("2.0"), ADNI, codes) == "F"
    with pytest.raises(InputError) as caught:
        decode("sex", cell("12"), ADNI, codes)
    assert caught.value.code == "unknown-code"
    assert "X is '12', expected one of 1, 2" in str(caught.value)


@pytest.mark.parametrize("text", ["2010-03-04", "03/04/2010", "3/4/2010", "3/4/10"])
def test_days_are_read_in_every_form_of_the_vendor(text: str) -> None:
    assert decode_date(cell(text), ADNI) == date(2010, 3, 4)


@pytest.mark.parametrize("text", ["", "-4"])
def test_a_missing_day_is_none(text: str) -> None:
    assert decode_date(cell(text), ADNI) is None


@pytest.mark.parametrize(
    ("text", "code"),
    [("13/01/2010", "bad-date"), ("March", "date-format"), ("1/2/3", "date-format")],
)
def test_no_other_day_is_guessed(text: str, code: str) -> None:
    with pytest.raises(InputError) as caught:
        decode_date(cell(text), ADNI)
    assert caught.value.code == code


# ---------------------------------------------------------------- one session


def test_the_first_value_wins_and_a_missing_code_gives_way() -> None:
    findings: list[Finding] = []
    values = SessionValues(ADNI, findings)
    values.take("mmse", cell("-4", "MMSE"))
    values.take("mmse", cell("25", "MMSCORE"))
    values.take("mmse", cell("24", "OTHER"))
    values.take("lm_delayed", cell("-1", "LDELTOTAL"))
    values.take("cdr_sb", cell("99", "CDRSB"))
    values.take("cdr_global", cell(""))
    row = values.row(cohort="ADNI", session_id="bl")
    assert list(row) == [column.name for column in SESSION_COLUMNS]
    kept = {name: value for name, value in row.items() if value}
    assert kept == {
        "cohort": "ADNI",
        "session_id": "bl",
        "mmse": "25",
        "missing_codes": "lm_delayed=-1",
    }
    assert values.sources["mmse"].column == "MMSCORE"
    (warning,) = findings
    assert (warning.code, warning.level) == ("out-of-range", "warning")
    assert "cdr_sb is '99'" in warning.problem
    assert "left empty" in warning.problem


def test_a_diagnosis_is_never_left_out_quietly() -> None:
    values = SessionValues(ADNI, [])
    with pytest.raises(InputError) as caught:
        values.take("diagnosis", cell("LMCI", "DX"), {"CN": "NC"})
    assert caught.value.code == "unknown-code"


# ---------------------------------------------------------------- the visit of a scan

SCAN = date(2010, 6, 1)


def visits(*days: int) -> list[tuple[date, int]]:
    """Visits so many days before the scan."""
    return [(SCAN - timedelta(days=n), n) for n in days]


def test_the_nearest_visit_is_taken_with_its_sign() -> None:
    assert nearest_visit(SCAN, visits(200, 40, -30)) == (-30, -30)
    assert nearest_visit(SCAN, visits(200, 40, -90)) == (40, 40)


def test_of_two_equally_near_the_earlier_is_taken() -> None:
    assert nearest_visit(SCAN, visits(-50, 50)) == (50, 50)
    assert nearest_visit(SCAN, visits(50, -50)) == (50, 50)


@pytest.mark.parametrize("side", [1, -1])
def test_the_window_is_inclusive_on_both_sides(side: int) -> None:
    assert nearest_visit(SCAN, visits(side * WINDOW_DAYS)) is not None
    assert nearest_visit(SCAN, visits(side * (WINDOW_DAYS + 1))) is None
    assert nearest_visit(SCAN, visits(side * 31), window=30) is None
    assert nearest_visit(SCAN, []) is None


@given(days=st.lists(st.integers(-400, 400), max_size=6))
def test_the_order_of_visits_does_not_matter(days: list[int]) -> None:
    inside = [n for n in days if abs(n) <= WINDOW_DAYS]
    best = nearest_visit(SCAN, visits(*days))
    assert best == nearest_visit(SCAN, visits(*reversed(days)))
    assert (best is None) == (not inside)
    if best is not None:
        assert (abs(best.days), -best.days) == min((abs(n), -n) for n in inside)


def test_days_between() -> None:
    assert days_after(SCAN, date(2010, 5, 1)) == "31"
    assert days_after(None, SCAN) == days_after(SCAN, None) == ""
