"""A NACC download in miniature: every trap of its layout once, and what a reader must make of it.

Invented people NACC900001 ... NACC900015; dates, scores and files are made up.
"""

from __future__ import annotations

from pathlib import Path

from vendor_fixtures.nacc_rows import (
    ALL,
    MRI,
    NEAR,
    UDS,
    Rows,
    dicom_series,
    flair,
    mri,
    nacc_id,
    series,
    t1_facts,
    visit,
)
from vendor_fixtures.small_files import csv_file, nifti, sidecar, write, zip_file
from vendor_fixtures.truth import Truth


def make_nacc(root: Path) -> Truth:
    """Write the download and return what it holds."""
    truth = Truth("NACC")
    visits: list[dict[str, str]] = []
    scans: list[dict[str, str]] = []
    for part in (_plain, _codes, _lists, _unzipped, _dates, _dirt, _left_out, _dicom):
        part(root, truth, visits, scans)
    csv_file(root / UDS, visits)
    csv_file(root / MRI, scans)
    csv_file(root / UDS.replace("investigator", "commercial"), visits[:1])
    truth.findings.update({"other-release": 1, "extra-column": 2})
    for fields in truth.sessions.values():
        fields["days_from_baseline"] = "0"
    return truth


def _plain(root: Path, truth: Truth, visits: Rows, scans: Rows) -> None:
    """A legacy name; delivered twice; the nearest of two visits is the later one."""
    visits.append(visit(1, "2010-03-10"))
    visits.append(
        visit(1, "2011-03-15", NACCVNUM="2", NACCUDSD="3", NACCMMSE="26", CDRGLOB="0.5",
              CDRSUM="1.5", LOGIMEM="9", MEMUNITS="7", NACCALZD="1", NACCETPR="1", NACCTMCI="1")
    )  # fmt: skip
    scans.append(mri(1, "2011-02-20", "mri1001.zip", NACCMRDY="-23", NACCVNUM="2"))
    members = {
        **series("mri1001/2_MPRAGE", SeriesDescription="MPRAGE"),
        **series("mri1001/3_MPRAGE_RPT", SeriesDescription="MP-RAGE REPEAT"),
        **flair("mri1001/4_FLAIR"),
        **series("mri1001/5_T1_SE", SeriesDescription="AX T1", MRAcquisitionType="2D"),
    }
    zip_file(root / NEAR / "mri1001ni.zip", members)
    zip_file(root / ALL / "mri1001ni.zip", members)
    truth.session(
        nacc_id(1),
        "mri1001",
        [f"{ALL}/mri1001ni.zip/mri1001/{name}" for name in ("2_MPRAGE.nii", "3_MPRAGE_RPT.nii")],
        visit_code="2",
        scan_date="2011-02-20",
        clinical_date="2011-03-15",
        match_days="-23",
        age="70",
        sex="F",
        education_years="16",
        mmse="26",
        cdr_global="0.5",
        cdr_sb="1.5",
        lm_immediate="9",
        lm_delayed="7",
        diagnosis="MCI",
        diagnosis_source="NACCUDSD=3",
        diagnosis_detail="NACCETPR=1",
        site="186",
        field_strength_t="3",
    )
    truth.findings["same-file-twice"] = 1
    truth.findings["other-series"] = 1


def _codes(root: Path, truth: Truth, visits: Rows, scans: Rows) -> None:
    """Codes that look like numbers, and the two values of NACCUDSD that are no label."""
    visits.append(
        visit(2, "2012-05-01", NACCUDSD="2", NACCMMSE="88", LOGIMEM="95", MEMUNITS="96",
              EDUC="99", SEX="1", CDRGLOB="0.5", CDRSUM="0.5", NACCALZD="0")
    )  # fmt: skip
    scans.append(mri(2, "2012-05-01", "NACC900002_20120501.zip", MRIFIELD="1"))
    name = f"{NEAR}/NACC900002_20120501ni.zip"
    zip_file(root / name, series("NACC900002_20120501/a/SPGR", SeriesDescription="IR-FSPGR 3D"))
    truth.session(
        nacc_id(2),
        "NACC900002_20120501",
        [f"{name}/NACC900002_20120501/a/SPGR.nii"],
        visit_code="1",
        scan_date="2012-05-01",
        clinical_date="2012-05-01",
        match_days="0",
        age="70",
        sex="M",
        cdr_global="0.5",
        cdr_sb="0.5",
        diagnosis="OTHER",
        diagnosis_source="NACCUDSD=2",
        diagnosis_detail="IMCI",
        site="186",
        field_strength_t="1.5",
        missing_codes="education_years=99,mmse=88,lm_immediate=95,lm_delayed=96",
    )
    # UDS4: behavioural impairment only. UDS3 gave up MMSE and Logical Memory for MoCA and Craft.
    visits.append(
        visit(3, "2016-05-01", FORMVER="4", PACKET="T", NACCUDSD="8", NACCMMSE="-4", LOGIMEM="-4",
              MEMUNITS="-4", NACCMOCA="25", CRAFTVRS="20", CRAFTURS="15")
    )  # fmt: skip
    scans.append(mri(3, "2016-05-11", "mri1003.zip", NACCMRDY="10", NACCMRIA="888"))
    zip_file(root / f"{ALL}/mri1003.zip", series("mri1003/T1", SeriesDescription="T1 3D"))
    truth.session(
        nacc_id(3),
        "mri1003",
        [f"{ALL}/mri1003.zip/mri1003/T1.nii"],
        visit_code="1",
        scan_date="2016-05-11",
        clinical_date="2016-05-01",
        match_days="10",
        age="75.9",
        sex="F",
        education_years="16",
        cdr_global="0",
        cdr_sb="0",
        site="186",
        field_strength_t="3",
        missing_codes="mmse=-4,lm_immediate=-4,lm_delayed=-4,diagnosis=8",
    )
    truth.findings["no-diagnosis"] = 3
    truth.findings["craft-not-logical-memory"] = 1
    truth.findings["telephone-visit"] = 1
    truth.findings["unverified-zip-name"] = 1


def _lists(root: Path, truth: Truth, visits: Rows, scans: Rows) -> None:
    """Two zips of one session in one cell; sidecars that are no JSON."""
    visits.append(visit(4, "2013-01-05", NACCUDSD="4", NACCALZD="1", NACCETPR="1", CDRGLOB="1",
                        CDRSUM="5", NACCMMSE="20", LOGIMEM="4", MEMUNITS="0"))  # fmt: skip
    scans.append(mri(4, "2013-01-05", "NACC900004_01.zip, NACC900004_02.zip"))
    broken = sidecar(
        **t1_facts(EchoTime=float("nan"), Slope=float("-inf"), Note='say "nan", -nan, inf')
    )
    broken = broken.replace(b"nan,\n", b"-nan,\n", 1)
    zip_file(root / f"{ALL}/NACC900004_01.zip", flair("s1/FLAIR"))
    zip_file(
        root / f"{ALL}/NACC900004_02.zip",
        {
            "s2/T1.nii": nifti(41),
            "s2/T1.json": broken,
            "s2/T1_b.nii": nifti(42),
            "s2/T1_b.json": b'{"SeriesDescription": "MPRAGE", ',
        },
    )
    truth.session(
        nacc_id(4),
        "NACC900004_01",
        [f"{ALL}/NACC900004_02.zip/s2/{name}.nii" for name in ("T1", "T1_b")],
        visit_code="1",
        scan_date="2013-01-05",
        clinical_date="2013-01-05",
        match_days="0",
        age="70",
        sex="F",
        education_years="16",
        mmse="20",
        cdr_global="1",
        cdr_sb="5",
        lm_immediate="4",
        lm_delayed="0",
        diagnosis="AD",
        diagnosis_source="NACCUDSD=4",
        diagnosis_detail="NACCETPR=1",
        site="186",
        field_strength_t="3",
    )
    truth.findings["json-not-a-number"] = 1
    truth.findings["bad-json"] = 1
    truth.findings["other-series"] += 1


def _unzipped(root: Path, truth: Truth, visits: Rows, scans: Rows) -> None:
    """A tree that the user has unzipped; dementia that is not Alzheimer's; missing keys."""
    visits.append(visit(5, "2014-02-01", NACCUDSD="4", NACCALZD="0", NACCETPR="2", CDRGLOB="2",
                        CDRSUM="11", NACCMMSE="14", LOGIMEM="97", MEMUNITS="98"))  # fmt: skip
    scans.append(mri(5, "2014-02-03", "mri1005.zip", NACCMRDY="2", MRIFIELD="9"))
    folder = f"{ALL}/mri1005ni/NACC900005/x"
    facts = {"SeriesDescription": "T1_MPR", "MagneticFieldStrength": 15000}
    write(root / folder / "T1.nii", nifti(51))
    write(root / folder / "T1.json", sidecar(**facts))
    write(root / folder / "lost_T1.json", sidecar(**t1_facts()))
    truth.session(
        nacc_id(5),
        "mri1005",
        [f"{folder}/T1.nii"],
        visit_code="1",
        scan_date="2014-02-03",
        clinical_date="2014-02-01",
        match_days="2",
        age="70",
        sex="F",
        education_years="16",
        mmse="14",
        cdr_global="2",
        cdr_sb="11",
        diagnosis="AD",
        diagnosis_source="NACCUDSD=4",
        diagnosis_detail="NACCETPR=2",
        site="186",
        missing_codes="field_strength_t=9,lm_immediate=97,lm_delayed=98",
    )
    truth.findings["sidecar-missing-keys"] = 1
    truth.findings["bad-field-strength"] = 1
    truth.findings["json-without-nifti"] = 1


def _dates(root: Path, truth: Truth, visits: Rows, scans: Rows) -> None:
    """200 days from any visit; a tie of two visits; a visit number that disagrees."""
    visits.append(visit(6, "2010-01-01", NACCUDSD="3", NACCALZD="1", NACCETPR="1"))
    scans.append(mri(6, "2010-07-20", "mri1006.zip", NACCMRDY="200"))
    zip_file(root / f"{ALL}/mri1006ni.zip", series("mri1006/T1"))
    common = {"age": "70", "sex": "F", "education_years": "16", "site": "186"}
    truth.session(
        nacc_id(6),
        "mri1006",
        [f"{ALL}/mri1006ni.zip/mri1006/T1.nii"],
        scan_date="2010-07-20",
        field_strength_t="3",
        **common,
    )
    truth.findings["no-visit-in-window"] = 1

    visits.append(visit(7, "2010-01-01", NACCMMSE="30"))
    visits.append(visit(7, "2010-01-21", NACCVNUM="2", NACCUDSD="3", NACCALZD="1", NACCETPR="1"))
    scans.append(mri(7, "2010-01-11", "mri1007.zip", NACCMRDY="10", NACCVNUM="2"))
    zip_file(root / f"{ALL}/mri1007ni.zip", series("mri1007/T1"))
    truth.session(
        nacc_id(7),
        "mri1007",
        [f"{ALL}/mri1007ni.zip/mri1007/T1.nii"],
        visit_code="1",
        scan_date="2010-01-11",
        clinical_date="2010-01-01",
        match_days="10",
        mmse="30",
        cdr_global="0",
        cdr_sb="0",
        lm_immediate="14",
        lm_delayed="12",
        diagnosis="NC",
        diagnosis_source="NACCUDSD=1",
        field_strength_t="3",
        **common,
    )
    truth.findings["visit-number-differs"] = 1


def _dirt(root: Path, truth: Truth, visits: Rows, scans: Rows) -> None:
    """Other body parts, an image whose sequence nobody knows, a score out of range."""
    visits.append(visit(8, "2015-03-01", NACCMMSE="45", SEX="1"))
    scans.append(mri(8, "2015-03-01", "mri1008.zip"))
    name = f"{ALL}/mri1008ni.zip"
    members = {
        **series("mri1008/liver", SeriesDescription="T1 VIBE", BodyPartExamined="LIVER"),
        **series("mri1008/neck", SeriesDescription="T1 3D", BodyPartExamined="CSPINE"),
        **series("mri1008/good"),
        "mri1008/0007.nii": nifti(81),
    }
    zip_file(root / name, members)
    truth.session(
        nacc_id(8),
        "mri1008",
        [f"{name}/mri1008/good.nii"],
        visit_code="1",
        scan_date="2015-03-01",
        clinical_date="2015-03-01",
        match_days="0",
        age="70",
        sex="M",
        education_years="16",
        cdr_global="0",
        cdr_sb="0",
        lm_immediate="14",
        lm_delayed="12",
        diagnosis="NC",
        diagnosis_source="NACCUDSD=1",
        site="186",
        field_strength_t="3",
    )
    truth.refused[f"{name}/mri1008/liver.nii"] = "wrong-body-part"
    truth.refused[f"{name}/mri1008/neck.nii"] = "wrong-body-part"
    truth.refused[f"{name}/mri1008/0007.nii"] = "series-unknown"
    truth.findings["out-of-range"] = 1


def _left_out(root: Path, truth: Truth, visits: Rows, scans: Rows) -> None:
    """A zip nobody knows, a row without a zip, only DICOM, an unknown code, a damaged zip."""
    zip_file(root / f"{ALL}/mri1999ni.zip", series("mri1999/T1"))
    truth.refused[f"{ALL}/mri1999ni.zip/mri1999/T1.nii"] = "scan-without-row"

    visits.append(visit(9, "2015-03-01"))
    scans.append(mri(9, "2015-03-01", "mri1009.zip"))
    truth.findings["row-without-scan"] = 1

    visits.append(visit(10, "2015-03-01", NACCUDSD="7"))
    scans.append(mri(10, "2015-03-01", "mri1010.zip"))
    zip_file(root / f"{ALL}/mri1010ni.zip", series("mri1010/T1"))
    truth.refused[f"{ALL}/mri1010ni.zip/mri1010/T1.nii"] = "unknown-code"

    visits.append(visit(11, "2015-03-01"))
    scans.append(mri(11, "2015-03-01", "mri1011.zip"))
    dicom = f"{ALL.replace('nifti', 'dicom')}/mri1011.zip"
    zip_file(root / dicom, {"mri1011/1/0001.dcm": b"\0" * 128 + b"DICM"})
    truth.refused[dicom] = "dicom-only"

    visits.append(visit(12, "2015-03-01"))
    scans.append(mri(12, "2015-03-01", "mri1012.zip"))
    damaged = zip_file(root / f"{ALL}/mri1012ni.zip", series("mri1012/T1"))
    damaged.write_bytes(damaged.read_bytes()[:-200])
    truth.refused[f"{ALL}/mri1012ni.zip"] = "*"

    scans.append(mri(13, "2015-03-01", "mri1013.zip"))
    zip_file(root / f"{ALL}/mri1013ni.zip", series("mri1013/T1"))
    truth.session(
        nacc_id(13),
        "mri1013",
        [f"{ALL}/mri1013ni.zip/mri1013/T1.nii"],
        scan_date="2015-03-01",
        age="70",
        site="186",
        field_strength_t="3",
    )
    truth.findings["no-participant-row"] = 1

    visits.append(visit(14, "2015-03-01"))
    scans.append(mri(14, "2015-03-01", "mri1014.zip"))
    zip_file(root / f"{ALL}/mri1014ni.zip", flair("mri1014/FLAIR"))
    truth.findings["no-t1"] = 1
    truth.findings["other-series"] += 1


def _dicom(root: Path, truth: Truth, visits: Rows, scans: Rows) -> None:
    """A session that was delivered as DICOM alone: a T1 and another series."""
    visits.append(visit(15, "2015-03-01"))
    scans.append(mri(15, "2015-03-01", "mri1015.zip"))
    dicom = f"{ALL.replace('nifti', 'dicom')}/mri1015.zip"
    slices = {
        **dicom_series("mri1015/2", 1015),
        **dicom_series("mri1015/3", 1016, SeriesDescription="SAG_3D_FLAIR"),
    }
    zip_file(root / dicom, slices)
    truth.session(
        nacc_id(15),
        "mri1015",
        [f"{dicom}/mri1015/2"],
        visit_code="1",
        scan_date="2015-03-01",
        clinical_date="2015-03-01",
        match_days="0",
        age="70",
        sex="F",
        education_years="16",
        mmse="29",
        cdr_global="0",
        cdr_sb="0",
        lm_immediate="14",
        lm_delayed="12",
        diagnosis="NC",
        diagnosis_source="NACCUDSD=1",
        site="186",
        field_strength_t="3",
    )
    truth.findings["other-series"] += 1
    truth.findings["dicom-read"] = 1
