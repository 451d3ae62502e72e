"""Each known fault of DICOM series is met by its code, in little time and memory, and no message,
finding or log line holds what could name a person."""

from __future__ import annotations

import logging
import time
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

import dicom_faults as faults
import dicom_makers as makers
from dicom_faults import DICOM_FAULTS
from known_faults import Fault
from medblip.errors import InputError
from medblip.volumes import dicom_decoding, read_volume

PERSON = {
    "PatientName": "Doe^Jane",
    "PatientID": "MRN-55512",
    "PatientBirthDate": "19410217",
    "InstitutionName": "St. Elsewhere",
    "AccessionNumber": "ACC-90001",
    "StudyDescription": "Jane Doe dementia",
    "SeriesDescription": "MPRAGE for Jane",
    "OtherPatientIDs": "SSN-1234",
}


@pytest.mark.parametrize("fault", DICOM_FAULTS, ids=lambda fault: fault.name)
def test_fault_is_refused_with_its_code_and_a_helpful_line(fault: Fault, tmp_path: Path) -> None:
    path = fault.make(tmp_path)
    start = time.perf_counter()
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            read_volume(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    message = str(caught.value)
    assert caught.value.code == fault.code
    assert fault.says in message
    assert message.startswith(("series: ", "IM0")), "the folder's or the slice's name comes first"
    assert "expected" in message
    assert caught.value.fix
    assert "\n" not in message
    assert str(tmp_path) not in message
    assert faults.PATIENT not in message
    assert peak < 24 << 20, f"{peak:,} bytes"
    assert time.perf_counter() - start < 5


def test_copies_of_a_file_are_dropped_with_a_note(tmp_path: Path) -> None:
    volume = read_volume(faults.copied_file(tmp_path))

    assert volume.shape == makers.SHAPE
    assert [(f.code, f.level) for f in volume.findings] == [("duplicate-files", "note")]
    assert "1 file(s)" in volume.findings[0].problem


def test_other_files_beside_the_slices_are_noted(tmp_path: Path) -> None:
    folder = makers.series(tmp_path)
    for name in ("notes.txt", "protocol.xml", "DICOMDIR", ".hidden"):
        (folder / name).write_text("x")

    findings = read_volume(folder).findings

    assert [(f.code, f.level) for f in findings] == [("ignored-files", "note")]
    assert "3 file(s)" in findings[0].problem


@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        ([None] * 16, "not all slices"),
        (list(range(101, 117)), "begins at 101"),
        (list(range(1, 32, 2)), "1 to 31 over 16"),
        ([1] * 16, "1 to 1 over 16"),
    ],
)
def test_numbers_that_tell_nothing_of_the_ends_are_a_doubt(
    numbers: list[int | None], says: str, tmp_path: Path
) -> None:
    def change(data: Dataset, number: int) -> None:
        data.InstanceNumber = numbers[number]

    findings = read_volume(makers.series(tmp_path, change)).findings

    assert [(f.code, f.level) for f in findings] == [("slice-numbers", "warning")]
    assert says in findings[0].problem


@pytest.mark.parametrize("first", [0, 1])
def test_numbers_may_begin_at_zero_and_run_backwards(first: int, tmp_path: Path) -> None:
    def change(data: Dataset, number: int) -> None:
        data.InstanceNumber = first + 15 - number

    assert read_volume(makers.series(tmp_path, change)).findings == ()


def test_a_slight_lean_is_in_the_affine(tmp_path: Path) -> None:
    """Up to 2.6 degrees are no fault; what leans stays leaning instead of being put upright."""

    def change(data: Dataset, number: int) -> None:
        x, y, z = (float(value) for value in data.ImagePositionPatient)
        data.ImagePositionPatient = makers.decimals([x, y, z + 0.4 * number])

    affine = read_volume(makers.series(tmp_path, change)).affine

    step = affine[:3, 2] * -np.sign(affine[0, 2])
    np.testing.assert_allclose(step, [-13, 0, 0.4], atol=1e-6)


def test_pixels_beyond_the_stored_bits_are_a_doubt(tmp_path: Path) -> None:
    def change(data: Dataset, number: int) -> None:
        data.BitsStored, data.HighBit = 9, 8

    volume = read_volume(makers.series(tmp_path, change))

    assert [finding.code for finding in volume.findings] == ["bits-beyond-stored"]
    assert volume.array.max() > 511, "the numbers are as they are stored"


def test_one_slice_given_as_a_file_names_its_folder_as_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give the folder") as caught:
        read_volume(makers.series(tmp_path) / "IM0000.dcm")
    assert caught.value.code == "too-few-slices"


@pytest.mark.parametrize(
    ("options", "code"),
    [({"files": "*.ima"}, "no-matching-file"), ({"series": "1.2.3"}, "missing-file")],
)
def test_what_was_asked_for_must_exist(options: dict[str, str], code: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_volume(makers.series(tmp_path), **options)  # type: ignore[arg-type]
    assert caught.value.code == code


def test_a_slice_may_not_lead_out_of_the_root(tmp_path: Path) -> None:
    folder = makers.series(tmp_path)
    outside = (folder / "IM0000.dcm").rename(tmp_path / "outside.dcm")
    (folder / "IM0000.dcm").symlink_to(outside)

    assert read_volume(folder).shape == makers.SHAPE
    with pytest.raises(InputError) as caught:
        read_volume(folder, root=folder)
    assert caught.value.code == "outside-root"


@pytest.mark.parametrize("fault", [None, *DICOM_FAULTS], ids=lambda f: f.name if f else "sound")
def test_nothing_that_names_a_person_is_told(
    fault: Fault | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = makers.series(tmp_path) if fault is None else fault.make(tmp_path)
    uids = _name_the_patient(folder)
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            told = " ".join(map(str, read_volume(folder).findings))
        except InputError as error:
            told = f"{error} {error.__cause__} {error.__context__ if error.__cause__ else ''}"

    told += " ".join([caplog.text, *(str(warning.message) for warning in warned)])
    for secret in [*PERSON.values(), *uids, "Doe", "Jane", "55512"]:
        assert secret not in told


def _name_the_patient(folder: Path) -> list[str]:
    """Write a person's data into all slices that pydicom can still write; their UIDs."""
    uids = []
    for path in folder.iterdir():
        try:
            with warnings.catch_warnings(action="ignore"):
                data = pydicom.dcmread(path)
            uids += [str(data.SOPInstanceUID), str(data.SeriesInstanceUID)]
            for name, value in PERSON.items():
                setattr(data, name, value)
            data.save_as(path)
        except Exception:  # noqa: S112  # the fault itself; its file stays as it is
            continue
    return uids


@pytest.mark.parametrize(
    ("program", "code", "says"),
    [
        ("import os; os.abort()", "broken-dicom", "crashed"),
        ("raise SystemExit(1)", "broken-dicom", "crashed"),
        ('print(\'{"error": "missing-extra"}\')', "missing-extra", "medblip[dicom]"),
        ('print(\'{"kind": "x"}\')', "broken-dicom", "another size"),
    ],
)
def test_a_codec_that_dies_takes_nothing_with_it(
    program: str, code: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GDCM 3.2 ends its process over some pictures; pixels are unpacked in one of their own."""
    stand_in = tmp_path / "codec.py"
    stand_in.write_text(program)
    monkeypatch.setattr(dicom_decoding, "_PROGRAM", stand_in)

    def change(data: Dataset, number: int) -> None:
        data.compress(RLELossless, generate_instance_uid=False)

    with pytest.raises(InputError, match="IM0") as caught:
        read_volume(makers.series(tmp_path, change))
    assert caught.value.code == code
    assert says in str(caught.value)


def test_packed_pixels_without_pydicom_name_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pydicom").mkdir()
    (tmp_path / "pydicom" / "__init__.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def change(data: Dataset, number: int) -> None:
        data.compress(RLELossless, generate_instance_uid=False)

    with pytest.raises(InputError, match=r"medblip\[dicom\]") as caught:
        read_volume(makers.series(tmp_path, change))
    assert caught.value.code == "missing-extra"
