"""Damaged at random, a series is read as a sound volume or refused by name, and never slowly."""

from __future__ import annotations

import contextlib
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dicom_makers as makers
from medblip.errors import InputError
from medblip.volumes import ReadLimits, read_volume
from medblip.volumes.codestreams import announced_size
from medblip.volumes.dicom_elements import (
    BrokenDicomError,
    Encoding,
    find_elements,
    find_items,
)

LIMITS = ReadLimits(max_inflated_bytes=1 << 24, max_voxels=1 << 20)
changes = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("fuzz")
    packed = makers.slices()
    for data in packed:
        data.compress("1.2.840.10008.1.2.5", generate_instance_uid=False)
    return {
        "plain": makers.write(root / "plain", makers.slices()),
        "packed": makers.write(root / "packed", packed),
        "enhanced": makers.write(root / "enhanced", [makers.enhanced()]),
    }


@pytest.mark.parametrize("kind", ["plain", "enhanced"])
@given(flips=changes)
@settings(max_examples=120, deadline=None)
def test_flipped_bytes_of_a_slice(
    folders: dict[str, Path], kind: str, flips: list[tuple[int, int]]
) -> None:
    assert_sound_or_refused(folders, kind, flips)


@given(flips=changes)
@settings(max_examples=20, deadline=None)  # each starts a process
def test_flipped_bytes_of_a_packed_slice(
    folders: dict[str, Path], flips: list[tuple[int, int]]
) -> None:
    assert_sound_or_refused(folders, "packed", flips)


def assert_sound_or_refused(
    folders: dict[str, Path], kind: str, flips: list[tuple[int, int]]
) -> None:
    path = folders[kind] / "IM0000.dcm"
    content = path.read_bytes()
    damaged = bytearray(content)
    region = min(len(content), 3000)
    for position, value in flips:
        damaged[position % region] = value
    path.write_bytes(damaged)
    try:
        volume = read_volume(folders[kind], limits=LIMITS)
    except InputError as error:
        assert error.code != "error"
    else:
        assert volume.array.dtype == np.float32
        assert np.isfinite(volume.array).all()
        assert np.linalg.matrix_rank(volume.affine) == 4
    finally:
        path.write_bytes(content)


@given(data=st.binary(max_size=400), explicit=st.booleans(), order=st.sampled_from("<>"))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_elements_or_broken(data: bytes, explicit: bool, order: str) -> None:
    encoding = Encoding(explicit, order)
    try:
        for element in find_elements(data, 0, len(data), encoding, range(1 << 32)).values():
            assert 0 <= element.start <= element.end <= len(data)
            find_items(data, element, encoding)
    except BrokenDicomError as error:
        assert str(error)


@given(data=st.binary(max_size=60), start=st.sampled_from([b"\xff\xd8", b"\xff\x4f\xff\x51", b""]))
@settings(max_examples=200, deadline=None)
def test_any_bytes_announce_a_size_or_none(data: bytes, start: bytes) -> None:
    size = announced_size(start + data)
    assert size is None or len(size) == 2


OPEN = struct.pack("<HH2sHL", 8, 0x32, b"SQ", 0, 0xFFFFFFFF)
ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
UNCLOSED = struct.pack("<HH2sHL", 9, 0x1010, b"OB", 0, 0xFFFFFFFF)
SMALL = struct.pack("<HH2sH", 9, 0x1010, b"US", 0)
EMPTY_ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, 0)


@pytest.mark.parametrize(
    "content",
    [
        (OPEN + ITEM) * 100_000,
        (OPEN + ITEM) * 60 + UNCLOSED * 100_000,
        OPEN + (ITEM + UNCLOSED) * 100_000,
        OPEN + EMPTY_ITEM * 300_000,
        SMALL * 300_000,
    ],
    ids=["deep", "deep-and-open", "items-of-open", "many-items", "many-elements"],
)
def test_megabytes_of_hostile_structure_take_a_second(content: bytes) -> None:
    """pydicom 3.0.2 needs minutes for some of these, or ends in a RecursionError."""
    start = time.perf_counter()
    with contextlib.suppress(BrokenDicomError):
        find_elements(content, 0, len(content), Encoding(), {0x00080032})
    assert time.perf_counter() - start < 3
