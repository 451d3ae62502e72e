"""Damaged at random, a file is read as a sound volume or refused by name: never anything else."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fault_files
from medblip.errors import InputError
from medblip.volumes import Preprocessing, ReadLimits, preprocess, read_volume

CONTENT = bytes(fault_files.nifti_bytes())
PACKED = gzip.compress(CONTENT)
HEADER_BYTES = 352
LIMITS = ReadLimits(
    max_inflated_bytes=1 << 24, max_voxels=1 << 20, min_extent_mm=0, min_voxels_per_axis=1
)

flips = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def damaged(content: bytes, changes: list[tuple[int, int]], region: int) -> bytes:
    result = bytearray(content)
    for position, value in changes:
        result[position % region] = value
    return bytes(result)


def assert_sound_or_refused(path: Path) -> None:
    try:
        volume = read_volume(path, limits=LIMITS)
        cube = preprocess(volume, Preprocessing(size=16))
    except InputError as error:
        assert error.code != "error"
        assert str(error).startswith(path.name)
        return
    assert volume.array.dtype == np.float32
    assert volume.array.ndim == 3
    assert np.isfinite(volume.array).all()
    assert np.linalg.matrix_rank(volume.affine) == 4
    assert cube.array.any()


@given(changes=flips)
@settings(max_examples=150, deadline=None)
def test_flipped_bytes_of_a_gzip(folder: Path, changes: list[tuple[int, int]]) -> None:
    path = folder / "scan.nii.gz"
    path.write_bytes(damaged(PACKED, changes, len(PACKED)))
    assert_sound_or_refused(path)


@given(length=st.integers(0, len(PACKED) - 1))
@settings(max_examples=60, deadline=None)
def test_truncated_gzip_is_always_refused(folder: Path, length: int) -> None:
    path = folder / "scan.nii.gz"
    path.write_bytes(PACKED[:length])
    with pytest.raises(InputError) as caught:
        read_volume(path, limits=LIMITS)
    assert caught.value.code in {"truncated-file", "empty-file", "not-a-volume"}


@given(changes=flips)
@settings(max_examples=300, deadline=None)
def test_any_header(folder: Path, changes: list[tuple[int, int]]) -> None:
    """The header itself is hostile, inside a valid gzip stream."""
    path = folder / "scan.nii.gz"
    path.write_bytes(gzip.compress(damaged(CONTENT, changes, HEADER_BYTES), 1))
    assert_sound_or_refused(path)


@given(content=st.binary(max_size=2000), name=st.sampled_from(["a.nii", "a.nii.gz", "a.hdr"]))
@settings(max_examples=100, deadline=None)
def test_any_bytes(folder: Path, content: bytes, name: str) -> None:
    path = folder / name
    path.write_bytes(content)
    with pytest.raises(InputError):
        read_volume(path, limits=LIMITS)
