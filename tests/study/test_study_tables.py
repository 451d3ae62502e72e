"""Tables are read exactly as written, and each known fault is named with its line and a fix."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from fault_tables import FAULT_TABLES, FaultTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medblip.errors import InputError, UsageError
from medblip.study import table_text
from medblip.study.dates import check_one_order, parse_date
from medblip.study.tables import nearest, read_table, unknown_columns, write_table

KEY = ("participant_id", "session_id")


@pytest.mark.parametrize("fault", FAULT_TABLES.values(), ids=FAULT_TABLES)
def test_fault_is_refused_with_its_code_place_and_fix(fault: FaultTable, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_table(fault.write(tmp_path), key=KEY)
    assert caught.value.code == fault.code
    for piece in fault.says:
        assert piece in str(caught.value)


@pytest.mark.parametrize("fault", FAULT_TABLES.values(), ids=FAULT_TABLES)
def test_a_fault_is_placed_alike_however_the_file_is_cut(
    fault: FaultTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_text, "CHUNK_BYTES", 17)
    with pytest.raises(InputError) as caught:
        read_table(fault.write(tmp_path), key=KEY)
    assert caught.value.code == fault.code
    for piece in fault.says:
        assert piece in str(caught.value)


def test_a_letter_may_lie_across_two_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in range(1, 12):
        monkeypatch.setattr(table_text, "CHUNK_BYTES", size)
        assert read_table(write(tmp_path, "id,name\n1,Zoë\n2,東京\n"))["name"].tolist()[1] == "東京"
        bad = tmp_path / "bad.csv"
        bad.write_bytes("id,name\n1,Zoë\n2,".encode() + b"\xe6\x9d,x\n")
        with pytest.raises(InputError) as caught:
            read_table(bad)
        assert caught.value.where == "bad.csv line 3"
        assert "byte 17 is 0xE6" in caught.value.problem


def write(tmp_path: Path, text: str, encoding: str = "utf-8", name: str = "t.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


def test_cells_stay_as_written(tmp_path: Path) -> None:
    path = write(tmp_path, "id,code,word,n\n0012,NA,None,1e5\n0013, n/a ,,007\n")
    table = read_table(path, key=("id",))
    assert table.to_dict("list") == {
        "id": ["0012", "0013"],
        "code": ["NA", "n/a"],
        "word": ["None", ""],
        "n": ["1e5", "007"],
    }
    assert table.index.tolist() == [2, 3]


def test_index_is_the_line_in_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, 'id,note\n1,"two\nlines"\n\n2,x\n')
    assert read_table(path).index.tolist() == [2, 5]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_byte_order_mark_is_fine(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path, "id,name\n1,Zoë\n", encoding="utf-8-sig")
    assert read_table(path, encoding=encoding)["id"].tolist() == ["1"]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_named_encoding_is_used(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path, "id,name\n1,Zoë\n", encoding=encoding)
    assert read_table(path, encoding=encoding)["name"].tolist() == ["Zoë"]


def test_unknown_encoding_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_table(write(tmp_path, "id\n1\n"), encoding="utf8000")
    assert caught.value.code == "unknown-encoding"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_delimiter_of_a_csv_is_the_headers(tmp_path: Path, separator: str) -> None:
    path = write(tmp_path, f"id{separator}mmse\n1{separator}27\n")
    assert read_table(path)["mmse"].tolist() == ["27"]


def test_semicolon_file_keeps_decimal_commas(tmp_path: Path) -> None:
    assert read_table(write(tmp_path, "id;mmse\n1;27,5\n"))["mmse"].tolist() == ["27,5"]


def test_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, "id,a\n" + "1,2\n" * 100)
    with pytest.raises(InputError) as caught:
        read_table(path, max_bytes=100)
    assert caught.value.code == "table-too-large"
    assert "405 bytes" in str(caught.value)


def test_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_table(tmp_path / "none.csv")
    assert caught.value.code == "unreadable-file"


def test_extra_columns_are_listed(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "id,Age,apoe,eTIV\n1,70,3,1500\n"))
    (finding,) = unknown_columns(table, ("id", "age"), "t.csv")
    assert (finding.code, finding.level) == ("extra-column", "note")
    assert "apoe, eTIV" in finding.problem
    assert unknown_columns(table[["id", "Age"]], ("id", "age"), "t.csv") == []


CELL = st.text(
    st.characters(blacklist_categories=("C", "Z"), blacklist_characters="\ufeff"), max_size=8
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(st.tuples(CELL.filter(bool), CELL), min_size=1, max_size=5))
def test_written_tables_read_back_equal(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    frame = pd.DataFrame(rows, columns=["a", "b"], dtype=str)
    write_table(tmp_path / "t.tsv", frame)
    assert read_table(tmp_path / "t.tsv").to_numpy().tolist() == frame.to_numpy().tolist()


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary(max_size=60) | st.text(',;\t\n\r"ab1.\x00', max_size=40).map(str.encode))
def test_any_bytes_are_a_rectangle_or_an_input_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    try:
        table = read_table(path)
    except InputError as error:
        assert error.code != "error"
    else:
        assert len(table) >= 1
        assert table.notna().to_numpy().all()


def test_dates_are_read_in_the_declared_order_only() -> None:
    assert parse_date("2021-02-03", "t").isoformat() == "2021-02-03"
    assert parse_date("2021-02-03T10:11:12", "t").isoformat() == "2021-02-03"
    assert parse_date("02/03/2021", "t", "month-first").isoformat() == "2021-02-03"
    assert parse_date("02/03/2021", "t", "day-first").isoformat() == "2021-03-02"


@pytest.mark.parametrize(
    ("text", "order", "code"),
    [
        ("02/03/2021", "iso", "date-format"),
        ("2021-02-03", "day-first", "date-format"),
        ("13/02/2021", "month-first", "bad-date"),
        ("2021-02-30", "iso", "bad-date"),
        ("٢٠٢١-02-03", "iso", "date-format"),
    ],
)
def test_other_dates_are_errors(text: str, order: str, code: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_date(text, "t.csv line 5", order)  # type: ignore[arg-type]
    assert caught.value.code == code
    assert "t.csv line 5" in str(caught.value)
    assert text in str(caught.value)


def test_both_date_orders_in_one_column_are_an_error() -> None:
    dates = [("line 2", "02/03/2021"), ("line 3", "13/02/2021"), ("line 4", "02/13/2021")]
    check_one_order(dates[:2], "EXAMDATE")
    with pytest.raises(InputError) as caught:
        check_one_order(dates, "EXAMDATE")
    assert caught.value.code == "mixed-dates"
    assert "line 3 and line 4" in str(caught.value)
    assert "EXAMDATE" in str(caught.value)


def test_nearest_name_is_suggested_without_regard_to_case() -> None:
    assert nearest("MMS", ["age", "mmse"]) == "did you mean 'mmse'?"
    assert nearest("zzzz", ["age", "mmse"]) == ""
