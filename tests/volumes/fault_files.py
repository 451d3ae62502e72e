"""One maker for each fault that volume files come with: it takes a folder, writes the file and
returns its path. ``known_faults`` says what must come of each.
"""

from __future__ import annotations

import gzip
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

SHAPE = (24, 26, 22)
AFFINE = np.array(
    [[5.0, 0, 0, -60], [0, 5.0, 0, -65], [0, 0, 5.0, -55], [0, 0, 0, 1]], dtype=np.float64
)
DIM, DATATYPE, PIXDIM, VOX_OFFSET, SCL_SLOPE, SCL_INTER = 40, 70, 76, 108, 112, 116
QFORM_CODE, SFORM_CODE, QUATERN_B, SROW_X = 252, 254, 256, 280

Maker = Callable[[Path], Path]


def scan(dtype: str = "i2") -> NDArray[Any]:
    """A small scan with contrast: noise of a fixed seed inside a box of zeros."""
    array = np.zeros(SHAPE, dtype=dtype)
    inner = np.random.default_rng(7).integers(100, 1000, (16, 18, 14))
    array[4:20, 4:22, 4:18] = inner
    return array


def nifti_bytes(array: NDArray[Any] | None = None) -> bytearray:
    """A whole single-file NIfTI-1, uncompressed."""
    image = nib.Nifti1Image(scan() if array is None else array, AFFINE)
    return bytearray(image.to_bytes())


def patched(offset: int, layout: str, *values: float) -> bytearray:
    """A good file with some header fields overwritten."""
    content = nifti_bytes()
    struct.pack_into(layout, content, offset, *values)
    return content


def write(folder: Path, content: bytes | bytearray, name: str = "scan.nii.gz") -> Path:
    """Write the content, gzipped if the name says so."""
    path = folder / name
    path.write_bytes(gzip.compress(content, 6) if name.endswith(".gz") else content)
    return path


def good(folder: Path) -> Path:
    return write(folder, nifti_bytes())


# 1: cut short


def cut_gzip(folder: Path) -> Path:
    path = good(folder)
    path.write_bytes(path.read_bytes()[:-2000])
    return path


def cut_plain(folder: Path) -> Path:
    return write(folder, nifti_bytes()[:-100], "scan.nii")


def cut_header(folder: Path) -> Path:
    return write(folder, nifti_bytes()[:200], "scan.nii")


def cut_gzip_trailer(folder: Path) -> Path:
    path = good(folder)
    path.write_bytes(path.read_bytes()[:-4])
    return path


def whole_gzip_of_cut_data(folder: Path) -> Path:
    return write(folder, nifti_bytes()[:-100])


# 2: flipped bits


def flipped_bit(folder: Path) -> Path:
    path = good(folder)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)
    return path


def wrong_checksum(folder: Path) -> Path:
    path = good(folder)
    content = bytearray(path.read_bytes())
    content[-8] ^= 0x01
    path.write_bytes(content)
    return path


# 3: bytes after the end


def garbage_after_gzip(folder: Path) -> Path:
    path = good(folder)
    path.write_bytes(path.read_bytes() + b"left over from another file")
    return path


def zeros_after_gzip(folder: Path) -> Path:
    path = good(folder)
    path.write_bytes(path.read_bytes() + bytes(5000))
    return path


def garbage_inside_gzip(folder: Path) -> Path:
    return write(folder, nifti_bytes() + b"left over")


def gzip_in_two_members(folder: Path) -> Path:
    content = bytes(nifti_bytes())
    path = folder / "scan.nii.gz"
    path.write_bytes(gzip.compress(content[:5000]) + gzip.compress(content[5000:]))
    return path


# 4: gzip bombs


def bomb_behind_small_header(folder: Path) -> Path:
    path = folder / "scan.nii.gz"
    packer = zlib.compressobj(9, wbits=31)
    parts = [packer.compress(bytes(nifti_bytes()))]
    parts += [packer.compress(bytes(1 << 20)) for _ in range(64)]
    path.write_bytes(b"".join([*parts, packer.flush()]))
    return path


def bomb_announced(folder: Path) -> Path:
    """3 GB of zeros that the header owns up to, stood for by a stream that never gets there."""
    return write(folder, patched(DIM, "<4h", 3, 1000, 1000, 1500))


# 5: impossible dimensions


def huge_dimensions(folder: Path) -> Path:
    image = nib.Nifti2Image(scan(), AFFINE)
    content = bytearray(image.to_bytes())
    struct.pack_into("<4q", content, 16, 3, 10**5, 10**5, 10**5)
    return write(folder, content)


def overflowing_dimensions(folder: Path) -> Path:
    """A product of 2^64, which wraps around to 0 in 64 bits."""
    content = bytearray(nib.Nifti2Image(scan(), AFFINE).to_bytes())
    struct.pack_into("<4q", content, 16, 3, 2**22, 2**21, 2**21)
    return write(folder, content)


def negative_dimension(folder: Path) -> Path:
    return write(folder, patched(DIM, "<4h", 3, -24, 26, 22))


def zero_dimension(folder: Path) -> Path:
    return write(folder, patched(DIM, "<4h", 3, 24, 0, 22))


def no_dimensions(folder: Path) -> Path:
    return write(folder, patched(DIM, "<h", 0))


def nine_dimensions(folder: Path) -> Path:
    return write(folder, patched(DIM, "<h", 9))


def larger_than_file(folder: Path) -> Path:
    return write(folder, patched(DIM, "<4h", 3, 100, 100, 100), "scan.nii")


# 6, 7, 8: the affine


def nan_affine(folder: Path) -> Path:
    return write(folder, patched(SROW_X, "<f", float("nan")))


def singular_affine(folder: Path) -> Path:
    return write(folder, patched(SROW_X, "<4f", 0, 5, 0, -60))


def bad_quaternion(folder: Path) -> Path:
    content = patched(QFORM_CODE, "<2h", 1, 0)
    struct.pack_into("<3f", content, QUATERN_B, 0.9, 0.9, 0.9)
    return write(folder, content)


def sheared(folder: Path) -> Path:
    return write(folder, patched(SROW_X, "<4f", 5, 0, 1.5, -60))


def no_orientation(folder: Path) -> Path:
    return write(folder, patched(QFORM_CODE, "<2h", 0, 0))


# 9 to 11: not one real 3D volume


def four_volumes(folder: Path) -> Path:
    return write(folder, nifti_bytes(np.stack([scan() + i for i in range(4)], axis=-1)))


def one_volume_in_4d(folder: Path) -> Path:
    return write(folder, nifti_bytes(scan()[..., None]))


def rgb(folder: Path) -> Path:
    colours = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    return write(folder, nifti_bytes(colours))


def complex_voxels(folder: Path) -> Path:
    return write(folder, nifti_bytes(scan().astype("c8")))


def unknown_datatype(folder: Path) -> Path:
    return write(folder, patched(DATATYPE, "<h", 77))


# 12 to 15: the voxels


def constant(folder: Path) -> Path:
    return write(folder, nifti_bytes(np.full(SHAPE, 9, dtype="i2")))


def some_nan(folder: Path) -> Path:
    array = scan("f4")
    array[5, 5, 5:15] = [np.nan, np.inf, -np.inf, *[np.nan] * 7]
    return write(folder, nifti_bytes(array))


def many_nan(folder: Path) -> Path:
    array = scan("f4")
    array[:4] = np.nan
    return write(folder, nifti_bytes(array))


def float64(folder: Path) -> Path:
    return write(folder, nifti_bytes(scan("f8") / 3))


def int64(folder: Path) -> Path:
    return write(folder, nib.Nifti1Image(scan("i8"), AFFINE, dtype="i8").to_bytes())


def slope_zero(folder: Path) -> Path:
    return write(folder, patched(SCL_SLOPE, "<2f", 0, 5))


def slope_nan(folder: Path) -> Path:
    return write(folder, patched(SCL_SLOPE, "<2f", float("nan"), 5))


def slope_infinite(folder: Path) -> Path:
    return write(folder, patched(SCL_SLOPE, "<2f", float("inf"), 5))


def intercept_nan(folder: Path) -> Path:
    return write(folder, patched(SCL_SLOPE, "<2f", 2, float("nan")))


# 16, 17: files that are not what their name says


def pair(folder: Path) -> Path:
    nib.Nifti1Pair(scan(), AFFINE).to_filename(folder / "scan.hdr")
    return folder / "scan.hdr"


def header_alone(folder: Path) -> Path:
    path = pair(folder)
    path.with_suffix(".img").unlink()
    return path


def image_alone(folder: Path) -> Path:
    path = pair(folder)
    path.unlink()
    return path.with_suffix(".img")


def cut_image_of_pair(folder: Path) -> Path:
    path = pair(folder)
    image = path.with_suffix(".img")
    image.write_bytes(image.read_bytes()[:-1])
    return path


def as_is(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def empty(folder: Path) -> Path:
    return as_is(folder, "scan.nii.gz", b"")


def text(folder: Path) -> Path:
    return as_is(folder, "scan.nii.gz", b"subject,age\n1,70\n")


def html(folder: Path) -> Path:
    return as_is(folder, "scan.nii.gz", b"<!DOCTYPE html><html><body>Please log in</body></html>")


def gzipped_html(folder: Path) -> Path:
    return write(folder, b"<!DOCTYPE html><html><body>Please log in</body></html>")


def png(folder: Path) -> Path:
    return as_is(folder, "scan.nii", b"\x89PNG\r\n\x1a\n" + bytes(500))


def zipped(folder: Path) -> Path:
    path = folder / "scan.nii.gz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("scan.nii", bytes(nifti_bytes()))
    return path


def random_bytes(folder: Path) -> Path:
    return as_is(folder, "scan.nii", np.random.default_rng(3).bytes(5000))


def plain_named_gz(folder: Path) -> Path:
    plain = write(folder, nifti_bytes(), "scan.nii")
    return plain.rename(folder / "scan.nii.gz")


def gzip_named_plain(folder: Path) -> Path:
    return good(folder).rename(folder / "scan.nii")


def analyze(folder: Path) -> Path:
    nib.AnalyzeImage(scan(), AFFINE).to_filename(folder / "scan.hdr")
    return folder / "scan.hdr"


def mgh(folder: Path) -> Path:
    nib.MGHImage(scan(), AFFINE).to_filename(folder / "scan.mgz")
    return folder / "scan.mgz"


MGH_WIDTH, MGH_GOOD_RAS, MGH_DIRECTIONS = 4, 28, 42


def patched_mgh(folder: Path, offset: int, layout: str, *values: float) -> Path:
    content = bytearray(nib.MGHImage(scan(), AFFINE).to_bytes())
    struct.pack_into(layout, content, offset, *values)
    return as_is(folder, "scan.mgh", bytes(content))


def mgh_without_directions(folder: Path) -> Path:
    return patched_mgh(folder, MGH_GOOD_RAS, ">h", 0)


def mgh_of_huge_dimensions(folder: Path) -> Path:
    """Their product is 65536^2 * 65537, which is 0 in the format's own 32 bits."""
    return patched_mgh(folder, MGH_WIDTH, ">3i", 65536, 65536, 65537)


def mgh_larger_than_file(folder: Path) -> Path:
    return patched_mgh(folder, MGH_WIDTH, ">3i", 150, 150, 150)


def mgh_of_nan_directions(folder: Path) -> Path:
    return patched_mgh(folder, MGH_DIRECTIONS, ">f", float("nan"))


def four_volumes_of_mgh(folder: Path) -> Path:
    volumes = np.stack([scan() + index for index in range(4)], axis=-1)
    nib.MGHImage(volumes, AFFINE).to_filename(folder / "scan.mgz")
    return folder / "scan.mgz"


def cut_mgz(folder: Path) -> Path:
    path = mgh(folder)
    path.write_bytes(path.read_bytes()[:-2000])
    return path


def mgz_with_wrong_checksum(folder: Path) -> Path:
    path = mgh(folder)
    content = bytearray(path.read_bytes())
    content[-8] ^= 0x01
    path.write_bytes(content)
    return path


def nifti_named_mgz(folder: Path) -> Path:
    return good(folder).rename(folder / "scan.mgz")


def dicom(folder: Path) -> Path:
    return as_is(folder, "IM0001", bytes(128) + b"DICM" + bytes(400))


# 18: too little of a head


def two_slices(folder: Path) -> Path:
    return write(folder, nifti_bytes(scan()[:, :, 10:12]))


def tiny_field_of_view(folder: Path) -> Path:
    content = patched(SROW_X, "<12f", 0.5, 0, 0, 0, 0, 0.5, 0, 0, 0, 0, 0.5, 0)
    return write(folder, content)


def metres_for_millimetres(folder: Path) -> Path:
    content = patched(SROW_X, "<12f", 500, 0, 0, 0, 0, 500, 0, 0, 0, 0, 500, 0)
    return write(folder, content)


# 20: out of the data set


def outside_and_root(folder: Path) -> tuple[Path, Path]:
    """A good scan beside the data set's folder, and that folder, empty."""
    (folder / "elsewhere").mkdir()
    (folder / "dataset").mkdir()
    return good(folder / "elsewhere"), folder / "dataset"


def link_out_of_root(folder: Path) -> Path:
    outside, root = outside_and_root(folder)
    (root / "scan.nii.gz").symlink_to(outside)
    return root / "scan.nii.gz"


def dots_out_of_root(folder: Path) -> Path:
    _, root = outside_and_root(folder)
    return root / ".." / "elsewhere" / "scan.nii.gz"
