"""Which reader reads which folder, and its settings from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from medblip.cohorts.adni_options import AdniOptions
from medblip.cohorts.nacc_options import NaccOptions
from medblip.cohorts.readers import Download, parse_downloads, with_map, with_settings
from medblip.cohorts.table_map import TableMap
from medblip.errors import InputError, UsageError


def test_a_kind_stands_before_its_folder_and_bids_needs_none() -> None:
    words = ["adni", "raw/ADNI", "SIM-A", "bids", "SIM-Z", "oasis", "nacc", "./adni"]
    assert parse_downloads(words) == [
        Download(Path("raw/ADNI"), "adni"),
        Download(Path("SIM-A")),
        Download(Path("SIM-Z"), "bids"),
        Download(Path("nacc"), "oasis"),  # a folder of that name, after a kind
        Download(Path("./adni")),
    ]
    assert parse_downloads([]) == []
    with pytest.raises(UsageError, match="no folder follows"):
        parse_downloads(["SIM-A", "adni"])


def test_settings_reach_the_reader_they_name_with_their_type() -> None:
    downloads = parse_downloads(["adni", "a", "nacc", "b", "c"])
    adni, nacc, bids = with_settings(
        downloads, ["nacc.ad_only=true", "adni.window_days=90", "nacc.window_days=100"]
    )
    assert adni.options == AdniOptions(window_days=90)
    assert nacc.options == NaccOptions(ad_only=True, window_days=100)
    assert bids.options is None


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("nacc.ad_onli=true", "did you mean 'ad_only'"),
        ("nacc.window_days=soon", r"nacc\.window_days"),
        ("ad_only=true", r"kind\.name=value"),
        ("nacc.ad_only", r"kind\.name=value"),
        ("oasis.half_cdr=MCI", "no source of kind oasis"),
    ],
)
def test_a_setting_that_is_none_says_what_is_wrong(setting: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        with_settings(parse_downloads(["nacc", "b"]), [setting])


def test_a_table_needs_a_map_and_a_map_a_table(tmp_path: Path) -> None:
    file = tmp_path / "clinic.yaml"
    file.write_text("cohort: CLINIC\ncolumns: {participant_id: P, path: SCAN}\n")
    table, bids = with_map(parse_downloads(["table", "a", "b"]), file)
    assert table.options == TableMap("CLINIC", {"participant_id": "P", "path": "SCAN"})
    assert bids.options is None
    with pytest.raises(UsageError, match="is for a table"):
        with_map(parse_downloads(["a"]), file)
    with pytest.raises(UsageError, match="needs a map"):
        Download(tmp_path, "table").read("utf-8-sig")
    with pytest.raises(InputError, match=r"absent\.yaml"):
        with_map(parse_downloads(["table", "a"]), tmp_path / "absent.yaml")


def test_a_raw_download_that_is_given_as_bids_is_named(tmp_path: Path) -> None:
    (tmp_path / "Study_Data").mkdir()
    (tmp_path / "Study_Data/ADNIMERGE.csv").write_text("RID,PTID,VISCODE,DX_bl\n1,a,bl,CN\n")
    with pytest.raises(InputError, match="use `medblip prepare adni`") as caught:
        Download(tmp_path).read("utf-8")
    assert caught.value.code == "other-cohort"
    (tmp_path / "Study_Data/ADNIMERGE.csv").unlink()
    with pytest.raises(InputError, match=r"participants\.tsv"):
        Download(tmp_path).read("utf-8")
