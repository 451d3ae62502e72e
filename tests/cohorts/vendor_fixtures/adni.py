"""ADNI in miniature: every trap of its tables and of its image tree once; invented people.

In both styles of table names and headers the same people are the same sessions; only what a style
cannot say (field strength, the column of a diagnosis) differs.
"""

from __future__ import annotations

from pathlib import Path

from vendor_fixtures.adni_tables import Tables, merge_row, ptid_of
from vendor_fixtures.loni_files import dicom_image, nifti_image, place
from vendor_fixtures.small_files import nifti, write, zip_file
from vendor_fixtures.truth import Truth

ADNIMERGE = "Study_Data/ADNIMERGE.csv"
NEW_ADNIMERGE = "Study_Data/ADNIMERGE_01Jan2025.csv"
SCALED = "MPR__GradWarp__B1_Correction__N3__Scaled"


class Maker:
    """A download while it is written."""

    def __init__(self, root: Path, *, old: bool) -> None:
        self.root = root
        self.old = old
        self.tables = Tables(old=old)
        self.truth = Truth("ADNI")

    def nifti(self, rid: int, series: str, day: str, image: int, *, raw: bool = False) -> str:
        return nifti_image(self.root, f"ADNI/{ptid_of(rid)}", series, day, image, raw=raw)

    def dicom(self, rid: int, series: str, day: str, image: int, **options: str) -> str:
        return dicom_image(self.root, f"ADNI/{ptid_of(rid)}", series, day, image, **options)  # type: ignore[arg-type]

    def merge(self, rid: int, visit: str, day: str, dx: str, **changes: str) -> None:
        self.tables.merge.append(merge_row(rid, visit, day, dx, **changes))

    def session(self, rid: int, session: str, scans: list[str], **fields: str) -> None:
        common = {
            "visit_code": session,
            "sex": "F",
            "education_years": "16",
            "site": f"9{rid % 10}",
            "mmse": "29",
            "cdr_sb": "0",
        }
        known = {name: value for name, value in {**common, **fields}.items() if value}
        self.truth.session(ptid_of(rid), session, scans, **known)

    def found(self, **codes: int) -> None:
        """Note findings, ``_`` for ``-``."""
        for code, count in codes.items():
            self.truth.findings[code.replace("_", "-")] += count


def make_adni(root: Path, *, old: bool = True) -> Truth:
    """Write the download with the older or the newer tables."""
    maker = Maker(root, old=old)
    for part in (
        _converter, _screening_only, _reverter, _demented, _adni4, _no_visit, _contradicted,
        _packed, _far, _left_out, _odd_rows, _odd_files,
    ):  # fmt: skip
        part(maker)
    maker.tables.write(root)
    maker.found(extra_column=7, visit_by_date=2 if old else 1)
    return maker.truth


def _converter(make: Maker) -> None:
    """RID 11: NC, then MCI; six copies at baseline; CDR and Logical Memory at screening only."""
    t = make.tables
    make.merge(11, "bl", "2010-03-01", "CN")
    make.merge(11, "m06", "2010-09-01", "CN")
    make.merge(11, "m12", "2011-03-01", "MCI", MMSE="26", CDRSB="1.5")
    t.diagnosis(11, "sc", "2010-02-10", "1")
    t.diagnosis(11, "m06", "2010-09-01", "1")
    t.diagnosis(11, "m12", "2011-03-01", "2")
    t.add("CDR", 11, "sc", "2010-02-10", CDGLOBAL="0")
    t.add("CDR", 11, "m12", "2011-03-01", CDGLOBAL="0.5")
    t.add("NEUROBAT", 11, "sc", "2010-02-10", LIMMTOTAL="12", LDELTOTAL="11")
    t.add("NEUROBAT", 11, "m12", "2011-03-01", LIMMTOTAL="-4", LDELTOTAL="-1")
    t.add("MMSE", 11, "m06", "2010-09-01", MMSCORE="28")
    t.add("MMSE", 11, "m12", "2011-03-01", MMSCORE="26")
    scaled = make.nifti(11, SCALED, "2010-02-20", 101)
    others = [
        make.nifti(11, "MT1__GradWarp__N3m", "2010-02-20", 102),
        make.dicom(11, "MPRAGE", "2010-02-20", 103, folder="S110"),
        make.nifti(11, "MPRAGE", "2010-02-20", 103, raw=True),
        make.dicom(11, "MPRAGE_Repeat", "2010-02-20", 104, folder="S111"),
    ]
    strong = make.nifti(11, SCALED, "2010-02-25", 105)
    for image in (101, 102, 103, 104):
        t.image(11, image, "ADNI Screening" if make.old else "sc", "2010-02-20", "1.5")
    t.image(11, 105, "ADNI Screening" if make.old else "sc", "2010-02-25", "3.0")
    first = {
        "scan_date": "2010-02-20", "clinical_date": "2010-03-01", "match_days": "-9",
        "days_from_baseline": "0", "age": "70", "cdr_global": "0", "lm_immediate": "12",
        "lm_delayed": "11", "diagnosis": "NC", "diagnosis_source": "DX=CN",
        "diagnosis_detail": "CN", "field_strength_t": "1.5" if make.old else "",
    }  # fmt: skip
    # The newer lists do not say the field strength, so nothing speaks against the other one.
    scans = [scaled, *others, strong] if make.old else [scaled, strong, *others]
    make.session(11, "bl", scans, **first)
    t.collection(11, 111, "m06", "2010-09-03")
    make.session(
        11, "m06", [make.dicom(11, "MPRAGE", "2010-09-03", 111)],
        scan_date="2010-09-03", clinical_date="2010-09-01", match_days="2",
        days_from_baseline="195", age="70.5", diagnosis="NC", diagnosis_source="DX=CN",
    )  # fmt: skip
    make.session(
        11, "m12", [make.nifti(11, "MP-RAGE", "2011-03-08", 121, raw=True)],
        scan_date="2011-03-08", clinical_date="2011-03-01", match_days="7",
        days_from_baseline="381", age="71", mmse="26", cdr_sb="1.5", cdr_global="0.5",
        diagnosis="MCI", diagnosis_source="DX=MCI",
        missing_codes="lm_immediate=-4,lm_delayed=-1",
    )  # fmt: skip
    make.found(screening_merged=1, conflicting_value=1, other_scan_date=1)


def _screening_only(make: Maker) -> None:
    """RID 12: nothing at baseline, not in ADNIMERGE; the year of birth alone gives the age."""
    t = make.tables
    source = t.diagnosis(12, "sc", "2009-05-05", "3", DXAD="1")
    t.add("MMSE", 12, "sc", "2009-05-05", MMSCORE="22")
    t.add("CDR", 12, "sc", "2009-05-05", CDGLOBAL="1")
    t.add("PTDEMOG", 12, "sc", "2009-05-05", PTGENDER="1", PTDOBYY="1936", PTEDUCAT="12")
    t.collection(12, 201, "sc", "2009-05-05")
    repeat = "MPR-R__GradWarp__B1_Correction__N3__Scaled_2"
    make.session(
        12, "bl", [make.nifti(12, repeat, "2009-05-05", 201)],
        scan_date="2009-05-05", clinical_date="2009-05-05", match_days="0",
        days_from_baseline="0", age="73", sex="M", education_years="12", site="", cdr_sb="",
        mmse="22", cdr_global="1", diagnosis="AD", diagnosis_source=source,
        diagnosis_detail="DXAD=1" if make.old else "",
    )  # fmt: skip
    make.found(screening_merged=1, age_by_year=1)


def _reverter(make: Maker) -> None:
    """RID 3001: MCI, then NC again; a scan at month 3, where nobody is diagnosed."""
    t = make.tables
    person = {"EXAMDATE_bl": "2012-01-10", "AGE": "65.2", "DX_bl": "EMCI", "PTGENDER": "Male"}
    make.merge(3001, "bl", "2012-01-10", "MCI", **person)
    make.merge(3001, "m03", "2012-04-12", "", **{**person, "MMSE": "", "CDRSB": ""})
    make.merge(3001, "m12", "2013-01-15", "", **{**person, "MMSE": "30"})
    t.diagnosis(3001, "sc", "2011-12-20", "2", "2")
    source = t.diagnosis(3001, "m12", "2013-01-15", "1", "7")
    names = ("ADNI2 Screening MRI-New Pt", "ADNI2 Month 3 MRI-New Pt", "ADNI2 Year 1 Visit")
    codes = names if make.old else ("scmri", "m03", "m12")
    # The last list row is a day off.
    for image, code, day in zip(
        (301, 302, 303), codes, ("2011-12-22", "2012-04-12", "2013-01-21"), strict=True
    ):
        t.image(3001, image, code, day, "3.0")
    common = {"sex": "M", "field_strength_t": "3" if make.old else ""}
    judged = {
        "diagnosis": "MCI", "diagnosis_source": "DX=MCI", "diagnosis_detail": "EMCI",
        "visit_code": "bl", "clinical_date": "2012-01-10",
    }  # fmt: skip
    make.session(
        3001, "bl", [make.dicom(3001, "MPRAGE", "2011-12-22", 301, folder="S310")],
        scan_date="2011-12-22", match_days="-19", days_from_baseline="0", age="65.1",
        **common, **judged,
    )  # fmt: skip
    make.session(
        3001, "m03", [make.dicom(3001, "MPRAGE_SENSE2", "2012-04-12", 302)],
        scan_date="2012-04-12", match_days="93", days_from_baseline="112", age="65.5",
        **common, **judged,
    )  # fmt: skip
    make.session(
        3001, "m12", [make.dicom(3001, "IR-FSPGR", "2013-01-20", 303)],
        scan_date="2013-01-20", clinical_date="2013-01-15", match_days="5",
        days_from_baseline="395", age="66.2", mmse="30", diagnosis="NC", diagnosis_source=source,
        **common,
    )  # fmt: skip
    make.found(neighbour_visit=1, scan_date_differs=1)


def _demented(make: Maker) -> None:
    """RID 6005: two images in one folder, other series, missing codes, no scan at baseline."""
    t = make.tables
    person = {"EXAMDATE_bl": "2018-06-01", "AGE": "80.0", "DX_bl": "AD", "PTEDUCAT": "20"}
    make.merge(6005, "bl", "2018-06-01", "Dementia", **person)
    make.merge(6005, "m24", "2020-06-05", "Dementia", **{**person, "MMSE": "", "CDRSB": "9.5"})
    t.add("MMSE", 6005, "m24", "2020-06-05", MMSCORE="-4")
    t.add("CDR", 6005, "m24", "2020-06-05", CDGLOBAL="2")
    t.add("NEUROBAT", 6005, "m24", "2020-06-05", LIMMTOTAL="3", LDELTOTAL="-1")
    series, day = "Accelerated_Sagittal_MPRAGE", "2020-06-05"
    scans = [make.dicom(6005, series, day, image, folder="S500") for image in (401, 402)]
    make.session(
        6005, "m24", scans, scan_date=day, clinical_date=day, match_days="0",
        days_from_baseline="735", age="82", education_years="20", mmse="", cdr_sb="9.5",
        cdr_global="2", lm_immediate="3", diagnosis="AD", diagnosis_source="DX=Dementia",
        missing_codes="mmse=-4,lm_delayed=-1",
    )  # fmt: skip
    make.dicom(6005, series, day, 402, folder="copy_I402")
    make.truth.refused[make.dicom(6005, "Head_3D", day, 405)] = "unknown-series"
    make.dicom(6005, "Sagittal_3D_FLAIR", day, 403)
    make.dicom(6005, "MPRAGE-like_FDG", day, 404, modality="PT")
    make.found(other_series=2, row_without_scan=1, same_image_twice=1)


def _adni4(make: Maker) -> None:
    """RID 10123: five digits, not in ADNIMERGE, more years of education than are thought to be."""
    t = make.tables
    source = t.diagnosis(10123, "bl", "2023-05-02", "2")
    t.add("MMSE", 10123, "bl", "2023-05-02", MMSCORE="27")
    t.add("PTDEMOG", 10123, "sc", "2023-04-02", PTGENDER="2", PTDOBYY="1950", PTEDUCAT="24")
    make.session(
        10123, "bl", [make.nifti(10123, "Accelerated_Sag_IR-FSPGR", "2023-05-30", 501, raw=True)],
        scan_date="2023-05-30", clinical_date="2023-05-02", match_days="28",
        days_from_baseline="28", age="73", education_years="", site="", cdr_sb="", mmse="27",
        diagnosis="MCI", diagnosis_source=source,
    )  # fmt: skip
    make.found(age_by_year=1, unverified_education=1, unverified_id=1)


def _no_visit(make: Maker) -> None:
    """RID 14: a scan a year and a half after the only visit."""
    make.merge(14, "bl", "2010-03-01", "CN")
    make.session(
        14, "2011-09-01", [make.dicom(14, "MPRAGE", "2011-09-01", 601)],
        visit_code="", scan_date="2011-09-01", days_from_baseline="549", age="71.5", mmse="",
        cdr_sb="",
    )  # fmt: skip
    make.found(no_visit=1, no_diagnosis=1, row_without_scan=1)


def _contradicted(make: Maker) -> None:
    """RID 16: two tables say two diagnoses; a score out of range; a day as a spreadsheet has it."""
    make.merge(16, "bl", "3/1/10", "MCI", MMSE="45")
    make.tables.diagnosis(16, "bl", "2010-03-01", "3")
    make.session(
        16, "bl", [make.dicom(16, "MPRAGE", "2010-03-02", 701)],
        scan_date="2010-03-02", clinical_date="2010-03-01", match_days="1",
        days_from_baseline="1", age="70", mmse="",
    )  # fmt: skip
    make.found(conflicting_diagnosis=1, out_of_range=1, no_diagnosis=1)


def _packed(make: Maker) -> None:
    """RID 19: one part of the download still packed, another packed and unpacked."""
    make.merge(19, "bl", "2010-03-01", "CN")
    make.tables.collection(19, 801, "bl", "2010-03-01")
    inside = place(f"ADNI/{ptid_of(19)}", SCALED, "2010-03-01", "I801")
    name = f"ADNI_{ptid_of(19)}_MR_{SCALED}_Br_20100101120000000_S808_I801.nii"
    zip_file(make.root / "part2.zip", {f"{inside}/{name}": nifti(801), "MMSE.csv": b"RID\n1\n"})
    make.session(
        19, "bl", [f"part2.zip/{inside}/{name}"], scan_date="2010-03-01",
        clinical_date="2010-03-01", match_days="0", days_from_baseline="0", age="70",
        diagnosis="NC", diagnosis_source="DX=CN", diagnosis_detail="CN",
    )  # fmt: skip
    lies_open = make.root / "ADNI" / ptid_of(11) / "MT1__GradWarp__N3m"
    packed = {p.relative_to(make.root).as_posix(): p.read_bytes() for p in lies_open.rglob("*.nii")}
    zip_file(make.root / "part1.zip", packed)
    make.found(packed_table=1, unpacked_archive=1)


def _far(make: Maker) -> None:
    """RID 20: the list calls it month 12, but it was made at baseline."""
    make.merge(20, "bl", "2010-03-01", "CN")
    make.merge(20, "m12", "2011-03-01", "CN")
    make.tables.collection(20, 901, "m12", "2010-03-05")
    make.session(
        20, "m12", [make.dicom(20, "MPRAGE", "2010-03-05", 901)],
        visit_code="bl", scan_date="2010-03-05", clinical_date="2010-03-01", match_days="4",
        days_from_baseline="4", age="70", diagnosis="NC", diagnosis_source="DX=CN",
        diagnosis_detail="CN",
    )  # fmt: skip
    make.found(far_from_visit=1, neighbour_visit=1, row_without_scan=1)


def _left_out(make: Maker) -> None:
    """Scans of nobody, of a subtype that is no diagnosis, of another subject by the list."""
    refused = make.truth.refused
    refused[make.dicom(13, "MPRAGE", "2010-03-01", 131)] = "scan-without-row"
    make.merge(15, "bl", "2010-03-01", "LMCI")
    refused[make.dicom(15, "MPRAGE", "2010-03-01", 151)] = "unknown-code"
    make.merge(17, "bl", "2010-03-01", "CN", PTID=ptid_of(18))
    refused[make.dicom(17, "MPRAGE", "2010-03-01", 171)] = "scan-without-row"
    make.tables.image(12, 122, "m12", "2011-03-08")
    refused[make.dicom(11, "MPRAGE", "2011-03-08", 122)] = "id-mismatch"
    make.found(id_mismatch=1)


def _odd_rows(make: Maker) -> None:
    """Rows that name nobody or no visit."""
    t = make.tables
    t.add("CDR", 11, "bl", "2010-03-01", CDGLOBAL="3")
    t.rows["CDR"][-1]["RID"] = "11a"
    t.add("MMSE", 3001, "sc", "2011-12-20", MMSCORE="3")
    t.rows["MMSE"][-1]["VISCODE2"] = ""
    t.diagnosis(11, "f", "2010-01-01", "3")
    make.found(bad_id=1, unknown_visit=1, no_visit_held=1)


def _odd_files(make: Maker) -> None:
    """Files that name no image, are of no known type, or say the group at enrolment."""
    folder = place(f"ADNI/{ptid_of(11)}", "MPRAGE", "2010-02-20", "I106")
    write(make.root / folder / "scan.nii", nifti(106))
    make.truth.refused[f"{folder}/scan.nii"] = "unknown-name"
    write(make.root / folder / "ADNI_901_S_0011_MR_MPRAGE_Br_S1_I107.mnc", b"CDF")
    name = "ADNI_901_S_0011_MR_MPRAGE_Br_S1_I107.mnc"
    make.truth.refused[f"{folder}/{name}"] = "unsupported-format"
    xml = b"<idaxs><researchGroup>AD</researchGroup></idaxs>"
    write(make.root / "ADNI/ADNI_901_S_0011_MPRAGE_S110_I103.xml", xml)
    write(make.root / "ADNI/.DS_Store", b"")
    write(make.root / "Study_Data/APOERES.csv", b"RID,VISCODE,APGEN1,APGEN2\n11,sc,3,4\n")
    make.found(unread_file=1, unread_table=1)
