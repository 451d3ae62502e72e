"""What reading each faulty file must come to. Run ``known_faults.py FOLDER`` to have them all.

``FAULTS`` must be refused with the code given; ``PUT_RIGHT`` are read, some with a finding.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import fault_files
from fault_files import Maker


@dataclass(frozen=True)
class Fault:
    """A fault's number in the list of known faults, its maker, and what must come of it."""

    number: int
    make: Maker
    code: str
    says: str = ""

    @property
    def name(self) -> str:
        return f"{self.number:02d}-{self.make.__name__}"


FAULTS = (
    Fault(1, fault_files.cut_gzip, "truncated-file", "bytes"),
    Fault(1, fault_files.cut_plain, "truncated-file", "got 27,708 bytes, expected 27,808"),
    Fault(1, fault_files.cut_header, "truncated-file", "got 200 bytes, expected 348"),
    Fault(1, fault_files.cut_gzip_trailer, "truncated-file", "bytes"),
    Fault(
        1, fault_files.whole_gzip_of_cut_data, "truncated-file", "got 27,708 bytes, expected 27,808"
    ),
    Fault(2, fault_files.flipped_bit, "corrupt-gzip", "damaged"),
    Fault(2, fault_files.wrong_checksum, "corrupt-gzip", "checksum"),
    Fault(4, fault_files.bomb_behind_small_header, "too-much-data"),
    Fault(4, fault_files.bomb_announced, "too-large", "1000x1000x1500"),
    Fault(5, fault_files.huge_dimensions, "too-large", "100000x100000x100000"),
    Fault(5, fault_files.overflowing_dimensions, "too-large"),
    Fault(5, fault_files.negative_dimension, "bad-dimensions", "-24"),
    Fault(5, fault_files.zero_dimension, "bad-dimensions"),
    Fault(5, fault_files.no_dimensions, "bad-dimensions", "0 dimensions"),
    Fault(5, fault_files.nine_dimensions, "bad-dimensions", "9 dimensions"),
    Fault(5, fault_files.larger_than_file, "truncated-file", "expected 2,000,352"),
    Fault(6, fault_files.nan_affine, "bad-affine", "NaN"),
    Fault(6, fault_files.singular_affine, "bad-affine"),
    Fault(6, fault_files.bad_quaternion, "bad-affine", "quatern_b"),
    Fault(8, fault_files.no_orientation, "left-right-unknown", "--assume-orientation"),
    Fault(9, fault_files.four_volumes, "needs-volume-index", "--volume-index 0 to 3"),
    Fault(10, fault_files.rgb, "rgb-volume", "RGB24"),
    Fault(11, fault_files.complex_voxels, "complex-volume", "magnitude"),
    Fault(11, fault_files.unknown_datatype, "unsupported-datatype", "77"),
    Fault(12, fault_files.constant, "no-contrast", "no contrast"),
    Fault(13, fault_files.many_nan, "nonfinite-voxels", "16.67%"),
    Fault(16, fault_files.header_alone, "missing-partner", "scan.img"),
    Fault(16, fault_files.image_alone, "missing-partner", "scan.hdr"),
    Fault(16, fault_files.cut_image_of_pair, "truncated-file", "scan.img"),
    Fault(17, fault_files.empty, "empty-file", "0 bytes"),
    Fault(17, fault_files.text, "not-a-volume", "text"),
    Fault(17, fault_files.html, "not-a-volume", "HTML"),
    Fault(17, fault_files.gzipped_html, "not-a-volume", "inside gzip"),
    Fault(17, fault_files.png, "not-a-volume", "PNG"),
    Fault(17, fault_files.zipped, "not-a-volume", "zip"),
    Fault(17, fault_files.random_bytes, "not-a-volume"),
    Fault(17, fault_files.plain_named_gz, "wrong-extension", "rename it to end in .nii"),
    Fault(17, fault_files.gzip_named_plain, "wrong-extension", "rename it to end in .nii.gz"),
    Fault(8, fault_files.analyze, "left-right-unknown", "Analyze"),
    Fault(8, fault_files.mgh_without_directions, "left-right-unknown", "goodRASFlag"),
    Fault(1, fault_files.cut_mgz, "truncated-file", "bytes"),
    Fault(2, fault_files.mgz_with_wrong_checksum, "corrupt-gzip", "checksum"),
    Fault(5, fault_files.mgh_of_huge_dimensions, "too-large", "65536x65536x65537"),
    Fault(5, fault_files.mgh_larger_than_file, "truncated-file", "expected 6,750,284"),
    Fault(6, fault_files.mgh_of_nan_directions, "bad-affine", "NaN"),
    Fault(9, fault_files.four_volumes_of_mgh, "needs-volume-index", "--volume-index 0 to 3"),
    Fault(17, fault_files.nifti_named_mgz, "wrong-extension", "rename it to end in .nii.gz"),
    Fault(17, fault_files.dicom, "broken-dicom", "transfer syntax"),
    Fault(18, fault_files.two_slices, "too-few-slices", "2 slices"),
    Fault(18, fault_files.tiny_field_of_view, "small-extent", "min_extent_mm"),
    Fault(18, fault_files.metres_for_millimetres, "huge-extent", "units"),
    Fault(20, fault_files.link_out_of_root, "outside-root"),
    Fault(20, fault_files.dots_out_of_root, "outside-root"),
)

# The code is that of the one finding expected; empty means none.
PUT_RIGHT = (
    Fault(3, fault_files.garbage_after_gzip, "trailing-bytes", "27 unexpected bytes"),
    Fault(3, fault_files.garbage_inside_gzip, "trailing-bytes", "9 unexpected bytes"),
    Fault(3, fault_files.zeros_after_gzip, ""),
    Fault(3, fault_files.gzip_in_two_members, ""),
    Fault(7, fault_files.sheared, ""),
    Fault(9, fault_files.one_volume_in_4d, ""),
    Fault(13, fault_files.some_nan, "nonfinite-voxels", "10 of"),
    Fault(14, fault_files.float64, ""),
    Fault(14, fault_files.int64, ""),
    Fault(15, fault_files.slope_zero, ""),
    Fault(15, fault_files.slope_nan, ""),
    Fault(15, fault_files.slope_infinite, ""),
    Fault(15, fault_files.intercept_nan, "bad-intercept", "scl_inter"),
    Fault(16, fault_files.pair, ""),
    Fault(17, fault_files.mgh, ""),
)


def write_all(folder: Path) -> None:
    """One folder per fault, for trying the command line by hand."""
    for fault in (*FAULTS, *PUT_RIGHT):
        target = folder / fault.name
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        fault.make(target)


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
