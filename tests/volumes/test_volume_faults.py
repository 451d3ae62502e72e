"""Each known fault of volume files is met by its code, and by words that help."""

from __future__ import annotations

import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import fault_files
from known_faults import FAULTS, PUT_RIGHT, Fault
from medblip.errors import InputError, UsageError
from medblip.volumes import ReadLimits, Volume, read_volume

INTENSITIES = fault_files.scan("f4")


def root_of(fault: Fault, folder: Path) -> Path | None:
    return folder / "dataset" if fault.number == 20 else None


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault_is_refused_with_its_code_and_a_helpful_line(fault: Fault, tmp_path: Path) -> None:
    path = fault.make(tmp_path)

    with pytest.raises(InputError) as caught:
        read_volume(path, root=root_of(fault, tmp_path))

    message = str(caught.value)
    assert caught.value.code == fault.code
    assert fault.says in message
    assert message.startswith(("scan.", "IM0001")), "the file's name comes first"
    assert "expected" in message
    assert caught.value.fix
    assert "\n" not in message
    assert str(tmp_path) not in message, "a full path may hold a person's name"


@pytest.mark.parametrize("fault", PUT_RIGHT, ids=lambda fault: fault.name)
def test_lesser_fault_is_put_right(fault: Fault, tmp_path: Path) -> None:
    volume = read_volume(fault.make(tmp_path))

    assert volume.array.dtype == np.float32
    assert volume.shape == fault_files.SHAPE
    assert np.isfinite(volume.array).all()
    assert [finding.code for finding in volume.findings] == ([fault.code] if fault.code else [])
    assert all(fault.says in str(finding) for finding in volume.findings)


@pytest.mark.parametrize(
    "make", [fault_files.slope_zero, fault_files.slope_nan, fault_files.slope_infinite]
)
def test_unusable_slope_means_unscaled_and_unshifted(
    make: fault_files.Maker, tmp_path: Path
) -> None:
    np.testing.assert_array_equal(read_volume(make(tmp_path)).array, INTENSITIES)


def test_no_single_flipped_bit_gives_other_voxels(tmp_path: Path) -> None:
    path = fault_files.good(tmp_path)
    content = path.read_bytes()
    truth = read_volume(path).array
    for position in range(10, len(content), len(content) // 60):
        flipped = bytearray(content)
        flipped[position] ^= 1 << (position % 8)
        path.write_bytes(flipped)
        try:
            volume = read_volume(path)
        except InputError as error:
            assert error.code in {"corrupt-gzip", "truncated-file", "not-a-volume"}
        else:
            np.testing.assert_array_equal(volume.array, truth)


@pytest.mark.parametrize(
    "make",
    [
        fault_files.bomb_behind_small_header,
        fault_files.bomb_announced,
        fault_files.huge_dimensions,
        fault_files.larger_than_file,
    ],
)
def test_a_lying_file_costs_little_memory(make: fault_files.Maker, tmp_path: Path) -> None:
    path = make(tmp_path)
    tracemalloc.start()
    try:
        with pytest.raises(InputError):
            read_volume(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20, f"{peak:,} bytes were allocated for a file of {path.stat().st_size:,}"


def test_assumed_orientation_is_used_and_said(tmp_path: Path) -> None:
    path = fault_files.no_orientation(tmp_path)

    volume = read_volume(path, assume_orientation="LPS")

    assert volume.axcodes == "LPS"
    assert volume.voxel_sizes == (5.0, 5.0, 5.0)
    assert [finding.code for finding in volume.findings] == ["orientation-assumed"]


def test_assumed_orientation_never_overrides_the_header(tmp_path: Path) -> None:
    volume = read_volume(fault_files.good(tmp_path), assume_orientation="LPS")

    assert volume.axcodes == "RAS"
    assert [finding.code for finding in volume.findings] == ["orientation-not-assumed"]
    assert read_volume(fault_files.good(tmp_path), assume_orientation="RAS").findings == ()


def test_imposed_orientation_overrides_the_header(tmp_path: Path) -> None:
    volume = read_volume(fault_files.good(tmp_path), assume_orientation="PIR!")

    assert volume.axcodes == "PIR"
    assert volume.voxel_sizes == (5.0, 5.0, 5.0)
    assert [finding.code for finding in volume.findings] == ["orientation-assumed"]
    mgh = fault_files.mgh(tmp_path)
    assert read_volume(mgh, assume_orientation="PIR!").axcodes == "PIR"
    assert read_volume(mgh, assume_orientation="PIR").axcodes == "RAS"


@pytest.mark.parametrize("letters", ["", "RA", "RLS", "XYZ", "RASI", "!", "RAS!!"])
def test_orientation_must_be_three_letters(letters: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="R/L, A/P and S/I"):
        read_volume(fault_files.no_orientation(tmp_path), assume_orientation=letters)


def test_mirrored_sform_and_qform_are_reported(tmp_path: Path) -> None:
    content = fault_files.patched(fault_files.SROW_X, "<4f", -5, 0, 0, 55)
    struct.pack_into("<h", content, fault_files.QFORM_CODE, 1)

    volume = read_volume(fault_files.write(tmp_path, content))

    assert volume.axcodes == "LAS", "the sform counts"
    assert [finding.code for finding in volume.findings] == ["sform-qform-disagree"]


@pytest.mark.parametrize("index", [0, 3])
def test_volume_index_chooses_the_volume(index: int, tmp_path: Path) -> None:
    volume = read_volume(fault_files.four_volumes(tmp_path), volume_index=index)

    np.testing.assert_array_equal(volume.array, INTENSITIES + index)


@pytest.mark.parametrize("index", [-1, 4])
def test_volume_index_must_exist(index: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected 0 to 3") as caught:
        read_volume(fault_files.four_volumes(tmp_path), volume_index=index)
    assert caught.value.code == "bad-volume-index"


def test_nan_becomes_background(tmp_path: Path) -> None:
    array = read_volume(fault_files.some_nan(tmp_path)).array

    np.testing.assert_array_equal(array[5, 5, 5:15], 0)
    np.testing.assert_array_equal(array[6:], INTENSITIES[6:])


def test_small_extents_can_be_allowed(tmp_path: Path) -> None:
    limits = ReadLimits(min_extent_mm=0, min_voxels_per_axis=1)

    assert read_volume(fault_files.two_slices(tmp_path), limits=limits).shape == (24, 26, 2)
    assert read_volume(fault_files.tiny_field_of_view(tmp_path), limits=limits).extent_mm[0] == 12


def test_links_inside_the_root_are_followed_and_named_from_it(tmp_path: Path) -> None:
    folder = tmp_path / "dataset" / "sub-01"
    folder.mkdir(parents=True)
    (folder / "link.nii.gz").symlink_to(fault_files.good(folder))

    volume = read_volume(folder / "link.nii.gz", root=tmp_path / "dataset")

    assert isinstance(volume, Volume)
    assert volume.source == "sub-01/link.nii.gz"


def test_a_pairs_image_may_not_leave_the_root(tmp_path: Path) -> None:
    outside, root = tmp_path / "elsewhere", tmp_path / "dataset"
    outside.mkdir()
    root.mkdir()
    header = fault_files.pair(outside)
    (root / "scan.img").symlink_to(header.with_suffix(".img"))
    header.rename(root / "scan.hdr")

    with pytest.raises(InputError, match=r"scan\.img") as caught:
        read_volume(root / "scan.hdr", root=root)
    assert caught.value.code == "outside-root"


def test_a_loop_of_links_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "a.nii").symlink_to(tmp_path / "b.nii")
    (tmp_path / "b.nii").symlink_to(tmp_path / "a.nii")

    for root in (None, tmp_path):
        with pytest.raises(InputError):
            read_volume(tmp_path / "a.nii", root=root)


@pytest.mark.parametrize(("name", "code"), [("", "no-matching-file"), ("none.nii", "missing-file")])
def test_no_file(name: str, code: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_volume(tmp_path / name)
    assert caught.value.code == code


def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "scan.nii")
    with pytest.raises(InputError) as caught:
        read_volume(tmp_path / "scan.nii")
    assert caught.value.code == "not-a-regular-file"
