"""ADNI's tables with invented rows: the newer and the older style of names and headers."""

from __future__ import annotations

from pathlib import Path

from vendor_fixtures.small_files import csv_file

_HEADER = """
RID,COLPROT,ORIGPROT,PTID,SITE,VISCODE,EXAMDATE,DX_bl,AGE,PTGENDER,PTEDUCAT,PTETHCAT,PTRACCAT,
PTMARRY,APOE4,FDG,PIB,AV45,FBB,ABETA,TAU,PTAU,CDRSB,ADAS11,ADAS13,ADASQ4,MMSE,RAVLT_immediate,
LDELTOTAL,FLDSTRENG,FSVERSION,IMAGEUID,Ventricles,Hippocampus,ICV,DX,mPACCdigit,EXAMDATE_bl,
CDRSB_bl,MMSE_bl,LDELTOTAL_BL,DIGITSCOR_bl,Years_bl,Month_bl,Month,M,update_stamp
"""
NEW_ORDER = "".join(_HEADER.split()).split(",")
_OLD_START = ["RID", "PTID", "VISCODE", "SITE", "COLPROT", "ORIGPROT", "EXAMDATE", "DX_bl", "AGE"]
OLD_ORDER = [*_OLD_START, *(column for column in NEW_ORDER if column not in _OLD_START)]


def phase_of(rid: int) -> str:
    """The phase a subject was enrolled in, by the ranges of RID."""
    ends = {2000: "ADNI1", 3000: "ADNIGO", 6000: "ADNI2", 10000: "ADNI3"}
    return next((phase for end, phase in ends.items() if rid < end), "ADNI4")


def ptid_of(rid: int) -> str:
    return f"90{rid % 10}_S_{rid:04d}"


def merge_row(rid: int, visit: str, day: str, dx: str, **changes: str) -> dict[str, str]:
    """One row of ADNIMERGE. Everybody is a woman of 70.0 years on 2010-03-01 unless told else."""
    row = dict.fromkeys(NEW_ORDER, "")
    row.update(
        RID=str(rid),
        COLPROT=phase_of(rid),
        ORIGPROT=phase_of(rid),
        PTID=ptid_of(rid),
        SITE=f"9{rid % 10}",
        VISCODE=visit,
        EXAMDATE=day,
        DX_bl="CN",
        AGE="70.0",
        PTGENDER="Female",
        PTEDUCAT="16",
        ABETA=">1700",
        CDRSB="0",
        MMSE="29",
        DX=dx,
        EXAMDATE_bl="2010-03-01",
        CDRSB_bl="18",
        MMSE_bl="7",
        LDELTOTAL_BL="3",
        M="0",
    )
    return {**row, **changes}


class Tables:
    """Rows by table, written at the end in one of two styles.

    Attributes:
        old: the style without days in file names, with one diagnosis column a phase.
    """

    def __init__(self, *, old: bool) -> None:
        self.old = old
        self.merge: list[dict[str, str]] = []
        self.rows: dict[str, list[dict[str, str]]] = {
            "DXSUM": [], "MMSE": [], "CDR": [], "NEUROBAT": [], "PTDEMOG": [], "IMAGES": [],
            "COLLECTION": [],
        }  # fmt: skip

    def add(self, table: str, rid: int, visit: str, day: str, **cells: str) -> None:
        """One row of a table whose visits have two codes."""
        phase = phase_of(rid)
        own = {"ADNI2": {"sc": "v01", "bl": "v03"}, "ADNI4": {visit: f"4_{visit}"}}
        code = own.get(phase, {}).get(visit, visit)
        key = {"PHASE": phase, "RID": str(rid), "VISCODE": code, "VISCODE2": visit}
        self.rows[table].append({**key, "EXAMDATE": day, **cells})

    def diagnosis(
        self, rid: int, visit: str, day: str, status: str, change: str = "", **cells: str
    ) -> str:
        """One row of DXSUM; what ``diagnosis_source`` will say."""
        column = {"ADNI1": "DXCURREN", "ADNIGO": "DXCHANGE", "ADNI2": "DXCHANGE"}
        name = column.get(phase_of(rid), "DIAGNOSIS") if self.old else "DIAGNOSIS"
        code = change if name == "DXCHANGE" else status
        others = dict.fromkeys(("DXCHANGE", "DXCURREN", "DXAD", "DIAGNOSIS"), "-4")
        if not self.old:
            others, cells = {"PTID": ptid_of(rid)}, {}
        self.add("DXSUM", rid, visit, day, **{**others, **cells, name: code})
        return f"{name}={code}"

    def image(self, rid: int, image: int, visit: str, day: str, tesla: str = "") -> None:
        """One row of the list of images of that style; ``visit`` is a code or a name."""
        if self.old:
            cells = {
                "SubjectID": ptid_of(rid), "Visit": visit, "MagStrength": tesla,
                "Sequence": "MPRAGE", "ScanDate": day, "StudyID": "9", "SeriesID": "9",
                "ImageUID": str(image), "Orig/Proc": "Original",
            }  # fmt: skip
        else:
            cells = {
                "image_id": f"I{image}", "subject_id": ptid_of(rid), "image_date": day,
                "image_description": "MPRAGE", "image_type": "Original", "study_id": "9",
                "VISCODE2": visit,
            }  # fmt: skip
        self.rows["IMAGES"].append(cells)

    def collection(self, rid: int, image: int, visit: str, day: str) -> None:
        """One row of the CSV of a collection, with the group at enrolment."""
        cells = [f"I{image}", ptid_of(rid), "AD", "F", "70", visit, "MRI", "MPRAGE", "Original"]
        year, month, of_month = day.split("-")
        cells += [f"{int(month)}/{int(of_month)}/{year}", "DCM", "6/1/2024"]
        names = (
            "Image Data ID,Subject,Group,Sex,Age,Visit,Modality,Description,Type,Acq Date,Format,"
            "Downloaded"
        )
        self.rows["COLLECTION"].append(dict(zip(names.split(","), cells, strict=True)))

    def write(self, root: Path) -> None:
        """Write all tables, in folders as people keep them."""
        names = {"IMAGES": "T1_All_Images"}
        if self.old:
            names = {"DXSUM": "DXSUM_PDXCONV_ADNIALL", "IMAGES": "MPRAGEMETA"}
        day = "" if self.old else "_01Jan2025"
        order = OLD_ORDER if self.old else NEW_ORDER
        merge = [{column: row[column] for column in order} for row in self.merge]
        csv_file(root / f"Study_Data/ADNIMERGE{day}.csv", merge)
        csv_file(root / "My_collection_6_01_2024.csv", self.rows.pop("COLLECTION"))
        for table, rows in self.rows.items():
            csv_file(
                root / f"Study_Data/{names.get(table, table)}{day}.csv",
                [{self._column(table, name): text for name, text in row.items()} for row in rows],
            )

    def _column(self, table: str, name: str) -> str:
        """How a column is called in that style."""
        if name == "PHASE" and self.old:
            return "Phase"
        return "VISDATE" if name == "EXAMDATE" and table != "DXSUM" and not self.old else name
