"""Good files give the same numbers in the same place as nibabel gives."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np
import pytest

import fault_files
from medblip.volumes import read_volume
from medblip.volumes.sniffing import HEAD_BYTES, FileKind, sniff
from phantoms import rotation

AFFINE = np.eye(4)
AFFINE[:3, :3] = rotation(4, -7, 11) @ np.diag([-5.0, 5.2, 6.1])
AFFINE[:3, 3] = [70, -60, -50]


def assert_same_as_nibabel(path: Path) -> None:
    volume, image = read_volume(path), cast(nib.Nifti1Pair, nib.load(path))
    expected = image.get_fdata()
    # float32 holds 24 bits; scaling rounds once more.
    tolerance = 4 * np.finfo(np.float32).eps * np.abs(expected).max()
    np.testing.assert_allclose(volume.array, expected, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(volume.affine, image.affine)
    assert volume.array.dtype == np.float32
    assert volume.findings == ()


@pytest.mark.parametrize("extension", [".nii", ".nii.gz", ".NII"])
@pytest.mark.parametrize("image_class", [nib.Nifti1Image, nib.Nifti2Image])
def test_one_file(image_class: type[nib.Nifti1Image], extension: str, tmp_path: Path) -> None:
    content = image_class(fault_files.scan(), AFFINE).to_bytes()
    path = tmp_path / f"scan{extension}"
    path.write_bytes(gzip.compress(content) if extension == ".nii.gz" else content)
    assert_same_as_nibabel(path)


@pytest.mark.parametrize("named", ["scan.hdr", "scan.img"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("image_class", [nib.Nifti1Pair, nib.Nifti2Pair])
def test_pair_of_files(
    image_class: type[nib.Nifti1Pair], packed: bool, named: str, tmp_path: Path
) -> None:
    suffix = ".gz" if packed else ""
    image_class(fault_files.scan(), AFFINE).to_filename(tmp_path / f"scan.img{suffix}")
    assert_same_as_nibabel(tmp_path / f"{named}{suffix}")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_every_data_type_and_byte_order(dtype: str, order: str, tmp_path: Path) -> None:
    header = nib.Nifti1Header(endianness=order)
    header.set_data_dtype(dtype)
    stored = (
        np.clip(fault_files.scan("i4"), 0, 127) if dtype in ("u1", "i1") else fault_files.scan()
    )
    image = nib.Nifti1Image(stored.astype(dtype), AFFINE, header, dtype=dtype)
    image.to_filename(tmp_path / "scan.nii.gz")
    assert_same_as_nibabel(tmp_path / "scan.nii.gz")


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "f8"])
def test_slope_and_intercept(dtype: str, tmp_path: Path) -> None:
    stored = np.clip(fault_files.scan("i4"), 0, 255).astype(dtype)
    content = bytearray(nib.Nifti1Image(stored, AFFINE).to_bytes())
    struct.pack_into("<2f", content, fault_files.SCL_SLOPE, 0.73, -1024)
    assert_same_as_nibabel(fault_files.write(tmp_path, content, "scan.nii"))


def test_qform_where_there_is_no_sform(tmp_path: Path) -> None:
    image = nib.Nifti1Image(fault_files.scan(), None)
    image.set_qform(AFFINE, code=1)
    image.to_filename(tmp_path / "scan.nii")
    assert_same_as_nibabel(tmp_path / "scan.nii")


def test_header_extensions_are_stepped_over(tmp_path: Path) -> None:
    image = nib.Nifti1Image(fault_files.scan(), AFFINE)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 3000))
    image.to_filename(tmp_path / "scan.nii.gz")
    assert_same_as_nibabel(tmp_path / "scan.nii.gz")


def test_array_can_be_written_to(tmp_path: Path) -> None:
    assert read_volume(fault_files.good(tmp_path)).array.flags.writeable


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"", FileKind.EMPTY),
        (b"\x1f\x8b\x08", FileKind.GZIP),
        (bytes(fault_files.nifti_bytes()[:HEAD_BYTES]), FileKind.NIFTI),
        (bytes(nib.Nifti2Image(fault_files.scan(), None).to_bytes()[:600]), FileKind.NIFTI),
        (nib.nifti1.Nifti1PairHeader().binaryblock, FileKind.NIFTI_HEADER),
        (nib.nifti2.Nifti2PairHeader().binaryblock, FileKind.NIFTI_HEADER),
        (nib.analyze.AnalyzeHeader().binaryblock, FileKind.ANALYZE),
        (nib.analyze.AnalyzeHeader(endianness=">").binaryblock, FileKind.ANALYZE),
        (nib.MGHImage(fault_files.scan(), None).to_bytes()[:300], FileKind.MGH),
        (bytes(128) + b"DICM", FileKind.DICOM),
        (b"  \n<HTML>", FileKind.HTML),
        (b'{"Manufacturer": "Simulated"}', FileKind.JSON),
        ("Größe\n".encode(), FileKind.TEXT),
        (b"PK\x03\x04", FileKind.ZIP),
        (b"\xff\xd8\xff\xe0", FileKind.JPEG),
        (b"%PDF-1.7", FileKind.PDF),
        (b"NRRD0004\n", FileKind.NRRD),
        (bytes(300), FileKind.UNKNOWN),
    ],
    ids=lambda value: value.name if isinstance(value, FileKind) else "",
)
def test_sniffing(head: bytes, kind: FileKind) -> None:
    assert sniff(head) is kind
