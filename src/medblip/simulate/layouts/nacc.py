"""NACC as it is downloaded: the UDS and MRI tables, and a zip of NIfTI series for each session."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medblip.simulate.image_files import SIMULATED, NiftiFile, PlainFile, SimulatedFile, ZipOfFiles
from medblip.simulate.layouts.delivery import Delivery, Order
from medblip.simulate.layouts.nacc_people import scan_day, scanner_of
from medblip.simulate.layouts.nacc_rows import MRI, UDS, scan_cells, session_cells, visit_cells
from medblip.simulate.people import Person, Visit
from medblip.simulate.pictures import Acquisition, Protocol, acquisition
from medblip.simulate.table_files import TableFile
from medblip.simulate.truth import Truth

FREEZE = 71
ALL = "MRI/all/nifti"
NEAR = "MRI/within1yr/nifti"
_FIRST_ID = 999_999  # downwards
_FIRST_ZIP = 90_001


def nifti_name(name: str) -> str:
    """The NIfTI zip of the originals' zip, both without ``.zip``."""
    return f"{name}ni"


def sidecar(scanner: Protocol, description: str, more: Mapping[str, Any]) -> dict[str, Any]:
    """What dcm2niix says of a series; the slice thickness is the scanner's, whatever the scale."""
    site = scanner.site
    facts = {
        "Modality": "MR",
        "MagneticFieldStrength": site.field_strength_t,
        "Manufacturer": site.name.partition("-")[0],
        "InstitutionName": SIMULATED,
        "BodyPartExamined": "BRAIN",
        "SeriesDescription": description,
        "MRAcquisitionType": "3D",
        "SliceThickness": round(min(site.voxel_mm), 2),
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"],
        "ConversionSoftware": "medblip simulate",
    }
    return {**facts, **more}


@dataclass
class NaccMaker:
    """The download while it grows."""

    out: Delivery
    ids: int = 0
    zips: int = 0
    uds: TableFile = field(default_factory=lambda: TableFile(f"investigator_nacc{FREEZE}.csv", UDS))
    mri: TableFile = field(
        default_factory=lambda: TableFile(f"investigator_mri_nacc{FREEZE}.csv", MRI)
    )

    def add(self, person: Person, *, trap: str = "") -> str:
        """A person's rows, zips and truth; the NACCID."""
        naccid = self.next_id()
        for visit in person.visits:
            self.visit_row(naccid, person, visit)
        for visit in person.visits:
            name = self.next_zip(naccid, person, visit)
            self.scan_row(naccid, person, visit, f"{name}.zip")
            bucket = ALL if person.number % 2 else NEAR
            path = f"{bucket}/{nifti_name(name)}.zip"
            members, inside = self.session_files(person, visit, name)
            self.out.add(ZipOfFiles(path, tuple(members)))
            paths = [f"{path}/{member}" for member in inside]
            self.session(naccid, person, visit, name, paths, trap)
        return naccid

    def next_id(self) -> str:
        self.ids += 1
        return f"NACC{_FIRST_ID + 1 - self.ids:06d}"

    def next_zip(self, naccid: str, person: Person, visit: Visit) -> str:
        """A legacy name for some, one that starts with the NACCID for others."""
        self.zips += 1
        number = _FIRST_ZIP + self.zips - 1
        if person.number % 3 == 0:
            return f"{naccid}_{scan_day(person, visit):%Y%m%d}_{number}"
        return f"mri{number}"

    def visit_row(self, naccid: str, person: Person, visit: Visit, **changes: str) -> str:
        """A row of the UDS table; its place."""
        return self.uds.put({**visit_cells(naccid, person, visit), **changes})

    def scan_row(
        self, naccid: str, person: Person, visit: Visit, files: str, **changes: str
    ) -> str:
        """A row of the MRI table; its place."""
        return self.mri.put({**scan_cells(naccid, person, visit, files), **changes})

    def session_files(
        self, person: Person, visit: Visit, folder: str
    ) -> tuple[list[SimulatedFile], list[str]]:
        """Members of a session's zip, a FLAIR among them, and the paths of its T1 scans."""
        names = ["2_MPRAGE", "3_MPRAGE_RPT", "4_SPGR"][: visit.images]
        members: list[SimulatedFile] = []
        for run, name in enumerate(names, 1):
            members += self.series(person, visit, f"{folder}/{name}", name[2:], run)
        members += self.series(person, visit, f"{folder}/9_FLAIR", "SAG_3D_FLAIR", 9)
        return members, [f"{folder}/{name}.nii" for name in names]

    def series(
        self,
        person: Person,
        visit: Visit,
        stem: str,
        description: str,
        run: int = 1,
        facts: Mapping[str, Any] | None = None,
    ) -> list[SimulatedFile]:
        """A NIfTI file and its sidecar, which says ``facts`` besides."""
        scan = self.scan(person, visit, run)
        text = json.dumps(sidecar(scanner_of(person), description, facts or {}), indent=1)
        # C prints a number that is none as a bare word, which is no JSON.
        data = text.replace("NaN", "nan").replace("Infinity", "inf").encode()
        return [NiftiFile(f"{stem}.nii", scan), PlainFile(f"{stem}.json", data)]

    def scan(self, person: Person, visit: Visit, run: int = 1) -> Acquisition:
        return acquisition(person, visit, self.out.scaled(scanner_of(person)), run)

    def session(
        self,
        naccid: str,
        person: Person,
        visit: Visit,
        name: str,
        paths: Sequence[str],
        trap: str = "",
        **changes: str,
    ) -> None:
        """The truth about a scan matched to its own visit, unless ``changes`` say otherwise."""
        row = {**session_cells(person, visit), **changes}
        self.out.truth.session(naccid, name, visit, paths, row, trap=trap)


def new_maker(order: Order) -> NaccMaker:
    return NaccMaker(Delivery(order, Truth("NACC", "cdr_global,cdr_sb")))
