"""One maker for each fault that DICOM series come with: it writes a folder and returns it.

``DICOM_FAULTS`` says what must come of each; numbers as in the list of known faults.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

import dicom_makers as makers
from known_faults import Fault

PATIENT = "Doe^Jane"
MIDDLE = 5


# 21, 22: more than one stack


def two_series(folder: Path) -> Path:
    makers.write(folder / "series", makers.slices(), "A")
    return makers.write(folder / "series", makers.slices(), "B")


def localizer_of_other_planes(folder: Path) -> Path:
    """Three slices of another plane that carry the series' own UID."""
    uid = generate_uid()
    makers.write(folder / "series", makers.slices(series=uid), "A")
    scout = makers.slices(affine=makers.ras_affine("coronal"), series=uid)[:3]
    for data in scout:
        data.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    return makers.write(folder / "series", scout, "B")


def localizer_of_other_size(folder: Path) -> Path:
    uid = generate_uid()
    makers.write(folder / "series", makers.slices(series=uid), "A")
    scout = makers.slices(makers.picture((24, 24, 5)), series=uid)[:3]
    return makers.write(folder / "series", scout, "B")


def other_pixel_spacing(folder: Path) -> Path:
    def change(data: Dataset, number: int) -> None:
        if number == MIDDLE:
            data.PixelSpacing = ["3", "3"]

    return makers.series(folder, change)


# 23: slices that are not there


def without(folder: Path, numbers: set[int], **changes: str) -> Path:
    data_sets = [data for k, data in enumerate(makers.slices()) if k not in numbers]
    for data in data_sets:
        for name, value in changes.items():
            setattr(data, name, value)
    return makers.write(folder / "series", data_sets)


def missing_in_the_middle(folder: Path) -> Path:
    return without(folder, {4, 5, 8})


def missing_at_the_beginning(folder: Path) -> Path:
    return without(folder, {0, 1})


def missing_at_the_end(folder: Path) -> Path:
    return without(folder, {14, 15}, ImagesInAcquisition="16")


def missing_at_the_end_of_interleaved(folder: Path) -> Path:
    """Odd slices were numbered first; the last one in space bears a number in the middle."""
    data_sets = makers.slices()
    for number, data in enumerate(data_sets):
        data.InstanceNumber = number // 2 + 1 + (8 if number % 2 == 0 else 0)
    return makers.write(folder / "series", data_sets[:-1])


def uneven_steps(folder: Path) -> Path:
    def change(data: Dataset, number: int) -> None:
        x, y, z = (float(value) for value in data.ImagePositionPatient)
        data.ImagePositionPatient = makers.decimals([x + 0.4 * (number % 2), y, z])

    return makers.series(folder, change)


def one_slice(folder: Path) -> Path:
    return without(folder, set(range(1, 16)))


# 24: slices that are there twice


def same_place_other_image(folder: Path) -> Path:
    data_sets = makers.slices()
    again = makers.slices(series=data_sets[0].SeriesInstanceUID)[MIDDLE]
    return makers.write(folder / "series", [*data_sets, again])


def two_echoes(folder: Path) -> Path:
    uid = generate_uid()
    makers.write(folder / "series", makers.slices(series=uid), "A")
    return makers.write(folder / "series", makers.slices(series=uid), "B")


def copy_with_other_pixels(folder: Path) -> Path:
    data_sets = makers.slices()
    again = makers.slices(makers.picture(seed=8), series=data_sets[0].SeriesInstanceUID)[MIDDLE]
    again.SOPInstanceUID = data_sets[MIDDLE].SOPInstanceUID
    return makers.write(folder / "series", [*data_sets, again])


def copied_file(folder: Path) -> Path:
    data_sets = makers.slices()
    return makers.write(folder / "series", [*data_sets, data_sets[MIDDLE]])


# 25: a stack that leans


def tilted_gantry(folder: Path) -> Path:
    def change(data: Dataset, number: int) -> None:
        x, y, z = (float(value) for value in data.ImagePositionPatient)
        data.ImagePositionPatient = makers.decimals([x, y, z + 2.0 * number])

    return makers.series(folder, change)


# 26: pixels that cannot be had


def cut_pixels(folder: Path) -> Path:
    """The file ends early: its last element announces more than there is."""
    path = makers.series(folder)
    victim = path / "IM0007.dcm"
    victim.write_bytes(victim.read_bytes()[:-100])
    return path


def short_pixels(folder: Path) -> Path:
    """A sound file with fewer pixels than rows and columns ask for."""

    def change(data: Dataset, number: int) -> None:
        if number == MIDDLE:
            data.PixelData = data.PixelData[:-100]

    return makers.series(folder, change)


def codec_missing(folder: Path) -> Path:
    def change(data: Dataset, number: int) -> None:
        data.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        data.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
        data["PixelData"].is_undefined_length = True

    return makers.series(folder, change)


def damaged_packing(folder: Path) -> Path:
    def change(data: Dataset, number: int) -> None:
        data.compress(RLELossless, generate_instance_uid=False)
        if number == MIDDLE:
            data.PixelData = encapsulate([b"\x01" * 200])

    return makers.series(folder, change)


def packed_picture_of_other_size(folder: Path) -> Path:
    """A JPEG-LS stream of 60000 x 60000 pixels, as it says; its decoder would ask for 7 GB."""

    def change(data: Dataset, number: int) -> None:
        data.compress(JPEGLSLossless, generate_instance_uid=False)
        stream = bytearray(data.PixelData)
        frame = stream.index(b"\xff\xf7")
        struct.pack_into(">HH", stream, frame + 5, 60000, 60000)
        data.PixelData = bytes(stream)

    return makers.series(folder, change)


def colour(folder: Path) -> Path:
    def change(data: Dataset, number: int) -> None:
        data.SamplesPerPixel, data.PhotometricInterpretation = 3, "RGB"
        data.PlanarConfiguration = 0

    return makers.series(folder, change)


def floating_point(folder: Path) -> Path:
    def change(data: Dataset, number: int) -> None:
        count = data.Rows * data.Columns
        del data.PixelData
        data.FloatPixelData = np.ones(count, "<f4").tobytes()
        data.BitsAllocated = 32

    return makers.series(folder, change)


# 27: structure that lies


def patch(folder: Path, old: bytes, new: bytes) -> Path:
    path = makers.series(folder)
    victim = path / "IM0007.dcm"
    content = victim.read_bytes()
    assert content.count(old) == 1
    victim.write_bytes(content.replace(old, new))
    return path


def inserted(folder: Path, elements: bytes) -> Path:
    """Elements put before (0008,0060) Modality of one slice."""
    modality = struct.pack("<HH2sH", 8, 0x60, b"CS", 2) + b"MR"
    return patch(folder, modality, elements + modality)


def _sequence(group: int, number: int) -> bytes:
    return struct.pack("<HH2sHL", group, number, b"SQ", 0, 0xFFFFFFFF)


ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)


def deeply_nested(folder: Path) -> Path:
    return inserted(folder, (_sequence(8, 0x32) + ITEM) * 2000)


def slow_nesting(folder: Path) -> Path:
    """Undelimited values inside open sequences, over which a recursive parser takes minutes."""
    unclosed = struct.pack("<HH2sHL", 9, 0x1010, b"OB", 0, 0xFFFFFFFF)
    return inserted(folder, (_sequence(8, 0x32) + ITEM) * 60 + unclosed * 20_000)


def lying_length(folder: Path) -> Path:
    return inserted(folder, struct.pack("<HH2sHL", 8, 0x22, b"OB", 0, 0xFFFFFF00))


def lying_rows(folder: Path) -> Path:
    def change(data: Dataset, number: int) -> None:
        data.Rows = data.Columns = 65535

    return makers.series(folder, change)


def lying_frames(folder: Path) -> Path:
    data = makers.enhanced()
    data.NumberOfFrames = "2000000000"
    return makers.write(folder / "series", [data])


def lying_frame_list(folder: Path) -> Path:
    data = makers.enhanced()
    data.NumberOfFrames = "17"
    return makers.write(folder / "series", [data])


def element_twice(folder: Path) -> Path:
    return inserted(folder, struct.pack("<HH2sH", 8, 0x60, b"CS", 2) + b"CT")


def deflated(folder: Path) -> Path:
    def change(data: Dataset, number: int) -> None:
        data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian

    return makers.series(folder, change)


def text_for_numbers(folder: Path) -> Path:
    path = makers.series(folder)
    victim = path / "IM0007.dcm"
    content = victim.read_bytes()
    start = content.index(struct.pack("<HH2s", 0x20, 0x32, b"DS")) + 8
    content = content[:start] + PATIENT.encode() + content[start + len(PATIENT) :]
    victim.write_bytes(content)
    return path


def empty_slice(folder: Path) -> Path:
    path = makers.series(folder)
    (path / "IM0007.dcm").write_bytes(b"")
    return path


def web_page_for_slice(folder: Path) -> Path:
    path = makers.series(folder)
    (path / "IM0007.dcm").write_text("<html>Session expired</html>")
    return path


# other things that are no T1-weighted stack


def no_position(folder: Path) -> Path:
    def change(data: Dataset, number: int) -> None:
        del data.ImagePositionPatient

    return makers.series(folder, change)


def tomography(folder: Path) -> Path:
    def change(data: Dataset, number: int) -> None:
        data.Modality = "CT"

    return makers.series(folder, change)


def mosaic(folder: Path) -> Path:
    def change(data: Dataset, number: int) -> None:
        data.ImageType = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]

    return makers.series(folder, change)


def no_slices(folder: Path) -> Path:
    (folder / "series").mkdir()
    (folder / "series" / "readme.txt").write_text("nothing here")
    return folder / "series"


def two_enhanced_files(folder: Path) -> Path:
    first = makers.enhanced()
    second = makers.enhanced()
    second.SeriesInstanceUID = first.SeriesInstanceUID
    return makers.write(folder / "series", [first, second])


def enhanced_without_places(folder: Path) -> Path:
    data = makers.enhanced()
    del data.PerFrameFunctionalGroupsSequence
    return makers.write(folder / "series", [data])


DICOM_FAULTS = (
    Fault(21, two_series, "several-series", "holds 2 series"),
    Fault(22, localizer_of_other_planes, "mixed-geometry", "3 of 19 slices"),
    Fault(22, localizer_of_other_size, "mixed-geometry", "3 of 19 files"),
    Fault(22, other_pixel_spacing, "mixed-geometry", "spacing"),
    Fault(23, missing_in_the_middle, "missing-slices", "about 3 slice(s)"),
    Fault(23, missing_at_the_beginning, "missing-end-slices", "begins at 3"),
    Fault(23, missing_at_the_end, "missing-end-slices", "16 images"),
    Fault(23, missing_at_the_end_of_interleaved, "missing-end-slices", "InstanceNumber"),
    Fault(23, uneven_steps, "uneven-slices", "12.6 to 13.4 mm"),
    Fault(23, one_slice, "too-few-slices", "one slice"),
    Fault(24, same_place_other_image, "duplicate-slices", "1 of 17"),
    Fault(24, two_echoes, "duplicate-slices", "up to 2"),
    Fault(24, copy_with_other_pixels, "conflicting-copies", "SOPInstanceUID"),
    Fault(25, tilted_gantry, "gantry-tilt", "8.7 degrees"),
    Fault(26, cut_pixels, "broken-dicom", "are left"),
    Fault(26, short_pixels, "truncated-file", "512 bytes, expected 612"),
    Fault(26, codec_missing, "codec-missing", "JPEG Lossless"),
    Fault(26, damaged_packing, "broken-dicom", "RLE Lossless"),
    Fault(26, packed_picture_of_other_size, "broken-dicom", "another size"),
    Fault(26, colour, "rgb-volume", "PhotometricInterpretation"),
    Fault(26, floating_point, "unsupported-datatype", "bits"),
    Fault(27, deeply_nested, "broken-dicom", "64 deep"),
    Fault(27, slow_nesting, "broken-dicom", "IM0007.dcm"),
    Fault(27, lying_length, "broken-dicom", "4,294,967,040 bytes"),
    Fault(27, lying_rows, "too-large", "65535x65535"),
    Fault(27, lying_frames, "too-large", "2000000000 slices"),
    Fault(27, lying_frame_list, "broken-dicom", "16 frame descriptions for 17"),
    Fault(27, element_twice, "broken-dicom", "twice"),
    Fault(27, deflated, "unsupported-format", "deflated"),
    Fault(27, text_for_numbers, "broken-dicom", "ImagePositionPatient"),
    Fault(27, empty_slice, "broken-dicom", "IM0007.dcm"),
    Fault(27, web_page_for_slice, "broken-dicom", "IM0007.dcm"),
    Fault(19, tomography, "wrong-modality", "tomography"),
    Fault(19, mosaic, "unsupported-format", "mosaic"),
    Fault(9, two_enhanced_files, "several-volumes", "2 files"),
    Fault(9, enhanced_without_places, "unsupported-format", "16 frames"),
    Fault(8, no_position, "broken-dicom", "ImagePositionPatient"),
    Fault(17, no_slices, "not-a-volume", "no DICOM image"),
)
