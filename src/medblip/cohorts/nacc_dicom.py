"""DICOM deliveries of NACC: which folder of a session's zip is a T1-weighted head, by its headers.

Headers hold what the sidecars of dcm2niix are made from, under the same names, so the rule is the
same. A folder is taken for a series; one that mixes several cannot be told apart by names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medblip.cohorts.collecting import Collector
from medblip.cohorts.download_files import read_small
from medblip.cohorts.nacc_deliveries import Delivery, Series
from medblip.cohorts.nacc_series import Judgement, judge
from medblip.errors import InputError
from medblip.volumes.dicom_elements import BrokenDicomError, end_of_group, find_elements
from medblip.volumes.dicom_file import DicomFile, parse_dicom

LOOKED_AT = 5  # files of a folder, evenly spaced
MAX_FILE_BYTES = 1 << 28
_META_START = 132  # after the preamble and the mark

CONVERT = (
    "convert the session, dcm2niix -b y -z y -o mri1234ni FOLDER, into a folder called like its "
    "zip in NACCMRFI with ni at the end"
)

_TEXTS = {
    0x0008103E: "SeriesDescription",
    0x00181030: "ProtocolName",
    0x00180023: "MRAcquisitionType",
    0x00180015: "BodyPartExamined",
}
_NUMBERS = {0x00180050: "SliceThickness", 0x00180087: "MagneticFieldStrength"}
_IMAGE_TYPE, _MODALITY = 0x00080008, 0x00080060
_WANTED = {*_TEXTS, *_NUMBERS, _IMAGE_TYPE, _MODALITY}


def dicom_series(delivery: Delivery, collector: Collector) -> list[Series]:
    """Every folder of DICOM slices in a delivery with its judgement.

    Folders whose headers cannot be read, or belong to several series, are judged ``refused``. If
    none can be read the delivery itself is refused, and none is returned.
    """
    folders: dict[str, list[str]] = {}
    for path in delivery.slices:
        folders.setdefault(path.rpartition("/")[0], []).append(path)
    judged = [_series(folder, paths, delivery, collector) for folder, paths in folders.items()]
    if any(series.facts for series in judged):
        return judged
    problem = "only DICOM was delivered, and none of its headers can be read"
    error = InputError(delivery.place, problem, CONVERT, code="dicom-only")
    collector.refuse([delivery.place], error)
    delivery.damaged = True
    return []


def _series(folder: str, paths: Sequence[str], delivery: Delivery, collector: Collector) -> Series:
    facts: dict[str, Any] = {}
    try:
        files = [_read(path, delivery, collector) for path in _spread(sorted(paths))]
        facts = _facts(files[0])
        if len({file.series for file in files}) > 1:
            problem = "the folder holds several DICOM series"
            raise InputError(folder, problem, code="several-series")
        judgement = _judge(files[0], facts, folder.rsplit("/", 1)[-1])
    except InputError as error:
        judgement = Judgement("refused", error.code, error.problem)
    return Series(folder, folder, facts, judgement, format="dicom", first_file=min(paths))


def _judge(file: DicomFile, facts: dict[str, Any], folder: str) -> Judgement:
    if not file.is_image:
        return Judgement("other", reason=f"{folder} (no image)")
    if facts["Modality"] != "MR":
        return Judgement("other", reason=f"{folder} ({facts['Modality'] or 'no modality'})")
    return judge(facts, folder)


def _spread(paths: Sequence[str]) -> list[str]:
    """A few of them, with the first and the last."""
    last, steps = len(paths) - 1, LOOKED_AT - 1
    return [paths[i] for i in sorted({last * step // steps for step in range(LOOKED_AT)})]


def _read(path: str, delivery: Delivery, collector: Collector) -> DicomFile:
    content = read_small(collector.root, path, delivery.archive, max_bytes=MAX_FILE_BYTES)
    return parse_dicom(content, path)


def _facts(file: DicomFile) -> dict[str, Any]:
    """What a sidecar would say, and the modality.

    Raises:
        InputError: the elements cannot be read.
    """
    content = file.values.data
    try:
        start = end_of_group(content, _META_START, 2)
        found = find_elements(content, start, len(content), file.values.encoding, _WANTED)
    except BrokenDicomError as error:
        raise InputError(file.name, str(error), code="broken-dicom") from None
    texts = {
        tag: content[element.start : element.end].decode("latin-1").strip(" \0")
        for tag, element in found.items()
    }
    facts: dict[str, Any] = {"Modality": texts.get(_MODALITY, "")}
    facts |= {name: texts[tag] for tag, name in _TEXTS.items() if texts.get(tag)}
    numbers = {name: _number(texts.get(tag, "")) for tag, name in _NUMBERS.items()}
    facts |= {name: number for name, number in numbers.items() if number is not None}
    facts["ImageType"] = texts.get(_IMAGE_TYPE, "").split("\\")
    return facts


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
