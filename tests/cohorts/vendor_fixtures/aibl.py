"""AIBL in miniature: days as -4, years of birth, the comma rows, SAG series; invented people."""

from __future__ import annotations

from pathlib import Path

from vendor_fixtures.loni_files import dicom_image, nifti_image, place
from vendor_fixtures.small_files import csv_file, nifti, write
from vendor_fixtures.truth import Truth

FOLDER = "Data_extract_3.3.0"
PDXCONV = f"{FOLDER}/aibl_pdxconv_01-Jun-2018.csv"
MPRAGE = "MPRAGE_ADNI_confirmed"
SAGITTAL = "MPRAGE_SAG_ISO_p2_ND"


class Maker:
    """A download while it is written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.truth = Truth("AIBL")
        names = ("pdxconv", "mmse", "cdr", "neurobat", "ptdemog", "mrimeta", "mri3meta")
        self.rows: dict[str, list[dict[str, str]]] = {n: [] for n in (*names, "pibmeta")}
        self.flute = ["RID,SITEID,VISCODE,EXAMDATE,FLUTE"]

    def add(self, table: str, rid: int, visit: str, day: str = "", **cells: str) -> None:
        """One row; ``day`` as AIBL writes it."""
        row = {"RID": str(rid), "SITEID": "2", "VISCODE": visit}
        if table not in ("pdxconv", "ptdemog"):
            row["EXAMDATE"] = day or "-4"
        self.rows[table].append({**row, **cells})

    def person(self, rid: int, birth: str, sex: str) -> None:
        self.add("ptdemog", rid, "bl", PTDOB=birth, PTGENDER=sex)

    def visit(self, rid: int, visit: str, day: str, dx: str, **scores: str) -> None:
        """Rows of one visit in all clinical tables; ``day`` is that of neurobat."""
        known = {"mmse": "29", "cdr": "0", "imm": "13", "delay": "12", **scores}
        self.add("pdxconv", rid, visit, DXCURREN=dx, DXMCI="-4", DXAD="-4", DXPARK="-4")
        self.add("mmse", rid, visit, MMSCORE=known["mmse"])
        self.add("cdr", rid, visit, CDGLOBAL=known["cdr"])
        story = {"LIMMTOTAL": known["imm"], "LDELTOTAL": known["delay"]}
        self.add("neurobat", rid, visit, day, **story)

    def scan(self, table: str, rid: int, visit: str, day: str) -> None:
        done = {"MMCONDCT": "1", "MMSMPRAGE": "1", "MMRMPRAGE": "0"}
        self.add(table, rid, visit, day, **done)

    def dicom(self, rid: int, series: str, day: str, image: int, **options: str) -> str:
        return dicom_image(self.root, f"AIBL/{rid}", series, day, image, **options)  # type: ignore[arg-type]

    def session(self, rid: int, session: str, scans: list[str], **fields: str) -> None:
        common = {
            "visit_code": session, "sex": "F", "site": "2", "mmse": "29", "cdr_global": "0",
            "lm_immediate": "13", "lm_delayed": "12", "diagnosis": "NC",
            "diagnosis_source": "DXCURREN=1", "field_strength_t": "3",
        }  # fmt: skip
        known = {name: value for name, value in {**common, **fields}.items() if value}
        self.truth.session(str(rid), session, scans, **known)

    def found(self, **codes: int) -> None:
        """Note findings, ``_`` for ``-``."""
        for code, count in codes.items():
            self.truth.findings[code.replace("_", "-")] += count


def make_aibl(root: Path) -> Truth:
    """Write the download."""
    maker = Maker(root)
    for part in (
        _converter, _sagittal, _unclear, _low_scores, _fallback_days, _no_visit, _faults,
        _other_files,
    ):  # fmt: skip
        part(maker)
    for name, rows in maker.rows.items():
        csv_file(root / f"{FOLDER}/aibl_{name}_01-Jun-2018.csv", rows)
    flute = f"{FOLDER}/aibl_flutemeta_01-Jun-2018.csv"
    write(root / flute, ("\n".join(maker.flute) + "\n").encode())
    maker.found(extra_column=4, age_by_year=1)
    return maker.truth


def _converter(make: Maker) -> None:
    """RID 11: NC, then MCI; at baseline 3 T in both formats, a repeat, and 1.5 T days later."""
    make.person(11, "/1931", "2")
    make.visit(11, "bl", "-4", "1")
    make.scan("mri3meta", 11, "bl", "04/10/2008")
    make.scan("mrimeta", 11, "bl", "04/15/2008")
    make.visit(11, "m18", "10/12/2009", "2", mmse="26", cdr="0.5", delay="5")
    make.scan("mri3meta", 11, "m18", "10/20/2009")
    raw = nifti_image(make.root, "AIBL/11", MPRAGE, "2008-04-10", 1101, raw=True)
    scans = [
        make.dicom(11, MPRAGE, "2008-04-10", 1101, folder="S1108"),
        raw,
        make.dicom(11, MPRAGE, "2008-04-15", 1103),
        make.dicom(11, f"{MPRAGE}_REPEATX2", "2008-04-10", 1102),
    ]
    make.session(
        11, "bl", scans, scan_date="2008-04-10", clinical_date="2008-04-10", match_days="0",
        days_from_baseline="0", age="77",
    )  # fmt: skip
    make.session(
        11, "m18", [make.dicom(11, "MPRAGE", "2009-10-20", 1104)],
        scan_date="2009-10-20", clinical_date="2009-10-12", match_days="8",
        days_from_baseline="558", age="78", mmse="26", cdr_global="0.5", lm_delayed="5",
        diagnosis="MCI", diagnosis_source="DXCURREN=2",
    )  # fmt: skip
    make.found(other_scan_date=1)


def _sagittal(make: Maker) -> None:
    """RID 1102: a series no table lists, nearer to month 18 than to baseline."""
    make.person(1102, "/1940", "1")
    make.visit(1102, "bl", "01/10/2008", "3", mmse="20", cdr="1", imm="2", delay="0")
    make.visit(1102, "m18", "07/01/2009", "3", mmse="-4", cdr="2", imm="1", delay="-4")
    scans = [
        make.dicom(1102, "MPRAGE_ADNI_confirmed_repeat", "2009-07-02", 1203),
        make.dicom(1102, SAGITTAL, "2009-06-20", 1202),
    ]
    make.scan("mrimeta", 1102, "m18", "07/02/2009")
    make.session(
        1102, "m18", scans, scan_date="2009-07-02", clinical_date="2009-07-01", match_days="1",
        days_from_baseline="539", age="69", sex="M", mmse="", cdr_global="2", lm_immediate="1",
        lm_delayed="", diagnosis="AD", diagnosis_source="DXCURREN=3", field_strength_t="1.5",
        missing_codes="mmse=-4,lm_delayed=-4",
    )  # fmt: skip
    make.found(visit_by_date=1, other_scan_date=1, row_without_scan=1)


def _unclear(make: Maker) -> None:
    """RID 23: a diagnosis code nobody explains. RID 25: no diagnosis at that visit."""
    make.person(23, "/1935", "2")
    make.visit(23, "bl", "05/01/2008", "7")
    make.scan("mri3meta", 23, "bl", "05/01/2008")
    nothing = {"diagnosis": "", "diagnosis_source": ""}
    day = "2008-05-01"
    same = {"scan_date": day, "clinical_date": day, "match_days": "0", "days_from_baseline": "0"}
    scan = make.dicom(23, MPRAGE, day, 2301)
    make.session(23, "bl", [scan], age="73", missing_codes="diagnosis=7", **same, **nothing)
    make.person(25, "/1935", "2")
    make.visit(25, "bl", "05/01/2008", "-4")
    make.visit(25, "m18", "05/20/2008", "1")  # near, but another visit's diagnosis is not its own
    make.scan("mri3meta", 25, "bl", "05/01/2008")
    scan = make.dicom(25, MPRAGE, day, 2501)
    make.session(25, "bl", [scan], age="73", missing_codes="diagnosis=-4", **same, **nothing)
    make.found(unverified_diagnosis=1, no_diagnosis=2, row_without_scan=1)


def _low_scores(make: Maker) -> None:
    """RID 24: MMSE 0 is a score; no year of birth; a sex that is no code."""
    make.person(24, "-4", "3")
    make.visit(24, "bl", "05/01/2008", "3", mmse="0", cdr="-4", imm="0", delay="26")
    make.scan("mri3meta", 24, "bl", "05/02/2008")
    make.session(
        24, "bl", [make.dicom(24, MPRAGE, "2008-05-02", 2401)],
        scan_date="2008-05-02", clinical_date="2008-05-01", match_days="1",
        days_from_baseline="1", sex="", mmse="0", cdr_global="", lm_immediate="0", lm_delayed="",
        diagnosis="AD", diagnosis_source="DXCURREN=3", missing_codes="cdr_global=-4",
    )  # fmt: skip
    make.found(unknown_code=1, out_of_range=1)


def _fallback_days(make: Maker) -> None:
    """RID 26: only flutemeta knows the day, in a row with a surplus comma."""
    make.person(26, "/1928", "2")
    make.visit(26, "m36", "-4", "1")
    make.flute += ["26,2,m36,03/01/2011,1,", "26,2,m54,09/01/2012,1,,x", "27,2,bl,-4,1"]
    make.session(
        26, "m36", [make.dicom(26, "MPRAGESAGISOp2ND", "2011-02-20", 2601)],
        scan_date="2011-02-20", clinical_date="2011-03-01", match_days="-9",
        days_from_baseline="0", age="83", field_strength_t="",
    )  # fmt: skip
    make.found(ragged_row=1, visit_by_date=1)


def _no_visit(make: Maker) -> None:
    """RID 27: a scan two years after the only visit."""
    make.person(27, "/1940", "2")
    make.visit(27, "bl", "03/01/2008", "1")
    scores = dict.fromkeys(("mmse", "cdr_global", "lm_immediate", "lm_delayed"), "")
    make.session(
        27, "2010-03-01", [make.dicom(27, MPRAGE, "2010-03-01", 2701)], visit_code="",
        scan_date="2010-03-01", days_from_baseline="730", age="70", diagnosis="",
        diagnosis_source="", field_strength_t="", **scores,
    )  # fmt: skip
    make.found(no_visit=1, no_diagnosis=1, row_without_scan=1)


def _faults(make: Maker) -> None:
    """Scans of nobody, of a diagnosis that is no code, in folders that are no subject's."""
    refused = make.truth.refused
    refused[make.dicom(999, MPRAGE, "2008-05-01", 9991)] = "scan-without-row"
    make.person(28, "/1940", "2")
    make.visit(28, "bl", "05/01/2008", "9")
    make.scan("mri3meta", 28, "bl", "05/01/2008")
    refused[make.dicom(28, MPRAGE, "2008-05-01", 2801)] = "unknown-code"
    refused[make.dicom(12345, MPRAGE, "2008-05-01", 2901)] = "bad-id"
    dicom_image(make.root, "AIBL/0151083", MPRAGE, "2008-05-01", 3001)
    make.add("mmse", 11, "v02", "05/01/2008", MMSCORE="3")
    make.add("pibmeta", 11, "bl", "04/11/2008")
    make.found(junk_folder=1, unknown_visit=1)


def _other_files(make: Maker) -> None:
    """Other series, an image without its number, tables that are not read."""
    for number, series in enumerate(("Axial_PD-T2_TSE", "Space_3D_T2_FLAIR_sag_p2", "localizer")):
        make.dicom(11, series, "2008-04-10", 3100 + number)
    make.dicom(11, "PIB_dynamic", "2008-04-11", 3110, modality="PT")
    folder = place("AIBL/11", MPRAGE, "2008-04-10", "I3200")
    write(make.root / folder / "slice.dcm", b"")
    write(make.root / folder / "slice2.dcm", b"")
    make.truth.refused[f"{folder}/*.dcm"] = "unknown-name"
    write(make.root / folder / "brain.nii", nifti(3200))
    make.truth.refused[f"{folder}/brain.nii"] = "unknown-name"
    apoe = {"RID": "11", "VISCODE": "bl", "APGEN1": "3", "APGEN2": "4"}
    csv_file(make.root / f"{FOLDER}/aibl_apoeres_01-Jun-2018.csv", [apoe])
    old = [{"RID": "11", "VISCODE": "bl", "DXCURREN": "3"}]
    csv_file(make.root / f"{FOLDER}/aibl_pdxconv_28-Apr-2015.csv", old)
    make.found(other_series=4, unread_table=1, older_table=1)
