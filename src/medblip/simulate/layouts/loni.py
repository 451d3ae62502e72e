"""The image tree that LONI delivers for ADNI and AIBL: a folder for each image."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from medblip.simulate.dicom_files import DicomSeries
from medblip.simulate.image_files import NiftiFile
from medblip.simulate.layouts.delivery import Delivery
from medblip.simulate.pictures import Acquisition

_STAMP = "20260101000000000"  # of the upload, 17 digits
_FIRST_IMAGE = 90_000_001  # real numbers are lower
_TIME = "10_20_30.0"


@dataclass
class LoniTree:
    """Images of one cohort, numbered as they come.

    Attributes:
        out: where the files are listed.
        joint: what stands between description and ``br_raw`` in file names.
        count: images so far.
    """

    out: Delivery
    joint: str = "_"
    count: int = 0

    def next_image(self) -> int:
        self.count += 1
        return _FIRST_IMAGE + self.count - 1

    def dicom(
        self,
        subject: str,
        series: str,
        day: date,
        scan: Acquisition,
        image: int,
        *,
        folder: str = "",
        missing: tuple[int, ...] = (),
        modality: str = "MR",
    ) -> str:
        """An original image as slices; how findings call it.

        Args:
            subject, series, day, scan, image: what it is.
            folder: name of the last folder; ``I<image>`` by default, ``S<series>`` in older ones.
            missing: slices that were lost.
            modality: as in the file names.
        """
        place = self.place(subject, series, day, folder or f"I{image}")
        stem = f"{self._stem(subject, series, modality)}{self.joint}br_raw_{_STAMP}"
        suffix = f"_S{image // 10}_I{image}.dcm"
        self.out.add(DicomSeries(place, stem, suffix, scan, subject, series, day, missing))
        return f"{place}/*_I{image}.dcm"

    def nifti(
        self,
        subject: str,
        series: str,
        day: date,
        scan: Acquisition,
        image: int,
        *,
        raw: bool = False,
    ) -> str:
        """One NIfTI file, processed by ADNI unless ``raw``; its path."""
        kind = f"{self.joint}br_raw_{_STAMP}_1" if raw else f"_Br_{_STAMP}"
        name = f"{self._stem(subject, series, 'MR')}{kind}_S{image // 10}_I{image}.nii"
        path = f"{self.place(subject, series, day, f'I{image}')}/{name}"
        self.out.add(NiftiFile(path, scan))
        return path

    def place(self, subject: str, series: str, day: date, folder: str) -> str:
        top = self.out.cohort
        return f"{top}/{subject}/{series}/{day.isoformat()}_{_TIME}/{folder}"

    def _stem(self, subject: str, series: str, modality: str) -> str:
        return f"{self.out.cohort}_{subject}_{modality}_{series}"
