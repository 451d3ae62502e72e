"""What the replica looks like on disk: names, headers, matrices and voxels of each vendor."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import highdicom
import nibabel as nib
import numpy as np
import openpyxl
import pydicom
import pytest
from replica_files import READERS, REPLICA, SCALE, place, truth

from medblip.simulate.anatomy import Anatomy, load_anatomy
from medblip.simulate.dicom_files import DicomSeries
from medblip.simulate.image_files import AnalyzePair, NiftiFile
from medblip.simulate.layouts.delivery import Delivery, Order
from medblip.simulate.pictures import make_picture, protocol
from medblip.simulate.replica import LAYOUTS
from medblip.volumes import read_volume
from medblip.volumes.orientation import to_ras

LONI = (
    r"{0}/{1}/[A-Za-z0-9_-]+/\d{{4}}-\d\d-\d\d_\d\d_\d\d_\d\d\.0/[SI]\d+/"
    r"{0}_{1}_MR_[A-Za-z0-9_-]+?_{2}_\d{{17}}_(\d+_)?S\d+_I\d+\.(dcm|nii)"
)
NAMES = {
    "ADNI": (
        LONI.format("ADNI", r"\d{3}_S_\d{4,5}", "([Bb]r_raw|Br)"),
        r"ADNI/ADNI_\d{3}_S_\d{4,5}_MPRAGE_S\d+_I\d+\.xml",
        r"Study_Data/(ADNIMERGE|MPRAGEMETA)\.csv",
        r"Study_Data/(ADNIMERGE|DXSUM|MMSE|CDR|NEUROBAT|PTDEMOG|APOERES|T1_All_Images)_01Jan2025\.csv",
        r"SIMULATED_collection_1_15_2025\.csv",
    ),
    "NACC": (
        r"(investigator|commercial)_nacc71\.csv|investigator_mri_nacc71\.csv",
        r"MRI/(all|within1yr)/nifti/(mri\d+ni|NACC\d{6}_\d+(_\d+ni)?)\.zip",
        r"MRI/all/dicom/\w+\.zip",
        r"MRI/all/nifti/\w+ni/NACC\d{6}/x/(lost_)?T1\.(nii|json)",
    ),
    "OASIS1": (
        r"oasis_cross-sectional(-reliability)?-[0-9a-f]{16}\.xlsx",
        r"(.*disc\d+/)?OAS1_\d{4}_MR[12]/OAS1_\d{4}_MR[12]\.txt",
        r"(.*disc\d+/)?OAS1_\d{4}_MR[12]/RAW/OAS1_\d{4}_MR[12]_mpr-[1-4]_anon\.(hdr|img)",
        r"(.*disc\d+/)?OAS1_\d{4}_MR[12]/(PROCESSED/MPRAGE/(SUBJ_111|T88_111)|FSL_SEG)/"
        r"OAS1_\d{4}_MR[12]_mpr_n[34]_anon_(sbj_111|111_t88_(masked_)?gfc(_fseg)?)\.(hdr|img)",
        r"neurite-oasis\.v1\.0/OASIS_OAS1_\d{4}_MR1/(aligned_)?(orig|norm)\.nii\.gz",
    ),
    "OASIS2": (
        r"oasis_longitudinal_demographics-8d83e569fa2e2d30\.xlsx",
        r"OAS2_RAW_PART[12]/OAS2_\d{4}_MR\d/RAW/mpr-[1-4]\.nifti\.(hdr|img)",
        r"OAS2_RAW_PART[12]/OAS2_\d{4}_MR\d/RAW/\d{4}-\d\.nift\.(hdr|img)",
    ),
    "AIBL": (
        LONI.format("AIBL", r"\d{4,7}", "_br_raw"),
        r"Data_extract_3\.3\.0/aibl_[a-z0-9]+_01-Jun-2018\.csv",
    ),
    "MIRIAD": (
        r"miriad_(mr_sessions|clinical|subjects)\.csv|miriad_\d{3}\.zip",
        r"(miriad_\d{3}_(AD|HC)_[FM]_\d\d_MR_[12])/\1\.nii",
        r"miriad_\d{3}_XX_F_01_MR_1\.nii",
    ),
}
HEADERS = {
    "ADNI/Study_Data/ADNIMERGE_01Jan2025.csv": "RID,COLPROT,ORIGPROT,PTID,SITE,VISCODE,EXAMDATE,",
    "ADNI/Study_Data/ADNIMERGE.csv": "RID,PTID,VISCODE,SITE,COLPROT,ORIGPROT,EXAMDATE,DX_bl,AGE,",
    "ADNI/SIMULATED_collection_1_15_2025.csv": (
        "Image Data ID,Subject,Group,Sex,Age,Visit,Modality,Description,Type,Acq Date,Format,"
    ),
    "NACC/investigator_nacc71.csv": (
        "NACCID,NACCADC,PACKET,FORMVER,VISITMO,VISITDAY,VISITYR,NACCVNUM,NACCAVST,NACCNVST,"
    ),
    "NACC/investigator_mri_nacc71.csv": (
        "NACCADC,NACCID,MRIMO,MRIDY,MRIYR,NACCMRIA,NACCMRFI,NACCMNUM,NACCMRDY,MRIT1,MRIT2,"
    ),
    "AIBL/Data_extract_3.3.0/aibl_pdxconv_01-Jun-2018.csv": "RID,SITEID,VISCODE,DXCURREN",
    "MIRIAD/miriad_mr_sessions.csv": "MR ID,Subject,M/F,Age,Group\n",
}
WORKBOOKS = {
    "OASIS1/oasis_cross-sectional-5708aa0a98d82080.xlsx": (
        "ID,M/F,Hand,Age,Educ,SES,MMSE,CDR,eTIV,nWBV,ASF,Delay"
    ),
    "OASIS2/oasis_longitudinal_demographics-8d83e569fa2e2d30.xlsx": (
        "Subject ID,MRI ID,Group,Visit,MR Delay,M/F,Hand,Age,EDUC,SES,MMSE,CDR,eTIV,nWBV,ASF"
    ),
}
# Matrix and voxel size of each vendor's raw scans, in the order of the file.
FULL_SHAPES = {
    "OASIS1": {"ASL": ((256, 256, 128), (1, 1, 1.25)), "LAS": ((176, 208, 176), (1, 1, 1))},
    "OASIS2": {"ASL": ((256, 256, 128), (1, 1, 1.25))},
    "MIRIAD": {"LSP": ((256, 256, 124), (0.9375, 0.9375, 1.5))},
}


@pytest.fixture(scope="module")
def anatomy(world: Path) -> Anatomy:
    return load_anatomy(world / "template", world / "anatomy")


@pytest.fixture(scope="module")
def deliveries() -> dict[str, Delivery]:
    return {name: make(Order(REPLICA, 0, SCALE)) for name, make in LAYOUTS.items()}


@pytest.mark.parametrize("cohort", sorted(NAMES))
def test_files_go_by_the_vendors_names(replica: Path, cohort: str) -> None:
    folder = replica / cohort
    names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    rules = [*NAMES[cohort], r"README\.txt"]
    strange = [name for name in names if not any(re.fullmatch(rule, name) for rule in rules)]
    assert strange == []
    for rule in rules:
        assert any(re.fullmatch(rule, name) for name in names), rule


def test_tables_have_the_vendors_headers(replica: Path) -> None:
    for name, header in HEADERS.items():
        assert (replica / name).read_text(encoding="utf-8").startswith(header), name
    for name, header in WORKBOOKS.items():
        sheet = openpyxl.load_workbook(replica / name).worksheets[0]
        assert [cell.value for cell in sheet[1]] == header.split(",")


@pytest.mark.parametrize("cohort", sorted(FULL_SHAPES))
def test_matrices_are_the_vendors(cohort: str) -> None:
    full = LAYOUTS[cohort](Order(4000, 0, 1.0))
    seen = set()
    for file in full.files:
        if not isinstance(file, AnalyzePair | NiftiFile) or file.path.endswith(".gz"):
            continue
        site = file.scan.protocol.site
        shape, edges = FULL_SHAPES[cohort][site.axcodes]
        if "SUBJ_111" in file.path:
            shape, edges = (256, 256, 160), (1, 1, 1)
        assert file.scan.shape == shape
        axes = ["RL", "PA", "IS"]
        order = [next(i for i, pair in enumerate(axes) if c in pair) for c in site.axcodes]
        assert tuple(site.voxel_mm[axis] for axis in order) == pytest.approx(edges)
        seen.add(site.axcodes)
    assert seen == FULL_SHAPES[cohort].keys()


def test_a_smaller_image_has_the_same_field_of_view() -> None:
    full = protocol("T", "PIR", (240, 256, 160), (1.0, 1.0, 1.2))
    small = full.scaled(0.3)
    assert small.shape == (72, 77, 48)
    for a, b in zip((full, small), (small, full), strict=True):
        extent = [n * mm for n, mm in zip(a.matrix, a.site.voxel_mm, strict=True)]
        same = [n * mm for n, mm in zip(b.matrix, b.site.voxel_mm, strict=True)]
        assert extent == pytest.approx(same)


@pytest.mark.parametrize("cohort", sorted(READERS))
def test_scans_read_back_as_the_heads_that_were_drawn(
    replica: Path, cohort: str, anatomy: Anatomy, deliveries: dict[str, Delivery]
) -> None:
    """The geometry of every format, left and right included, through the real reading of files."""
    scans = {place(scan): scan for scan in READERS[cohort](replica / cohort).scans}
    drawn = {}
    for file in deliveries[cohort].files:
        if isinstance(file, DicomSeries) and not file.missing:
            drawn[f"{file.folder}/*{file.suffix[file.suffix.index('_I') :]}"] = file.scan
        elif isinstance(file, AnalyzePair | NiftiFile):
            drawn[file.path] = file.scan
    common = sorted(drawn.keys() & scans.keys())[::3]
    assert common
    for name in common:
        scan = scans[name]
        volume = read_volume(
            replica / cohort / scan.path,
            files=scan.files,
            assume_orientation=scan.assume_orientation or None,
        )
        picture = make_picture(anatomy, drawn[name])
        expected = nib.as_closest_canonical(nib.Nifti1Image(picture.array, picture.affine))
        ras = to_ras(volume)
        np.testing.assert_array_equal(ras.array, np.asarray(expected.dataobj), err_msg=name)
        np.testing.assert_allclose(ras.voxel_sizes, expected.header.get_zooms(), rtol=1e-4)
        if not scan.assume_orientation:
            np.testing.assert_allclose(ras.affine, expected.affine, atol=1e-3)


def test_images_that_cannot_be_read_are_refused_as_planned(replica: Path) -> None:
    from medblip.errors import InputError

    found = {}
    for cohort in ("ADNI", "NACC"):
        late = [row for row in truth(replica, cohort, "scans") if row["stage"] == "image"]
        assert late
        for row in late:
            folder, _, pattern = row["path"].rpartition("/")
            series = "*" in pattern
            path = folder if series else row["path"]
            with pytest.raises(InputError) as error:
                read_volume(replica / cohort / path, files=pattern if series else "")
            assert error.value.code == row["finding"]
            found[row["path"]] = error.value.code
    assert set(found.values()) == {"missing-slices", "needs-volume-index", "rgb-volume"}


def test_highdicom_reads_a_series(replica: Path, anatomy: Anatomy) -> None:
    file = next(
        f for f in LAYOUTS["AIBL"](Order(REPLICA, 0, SCALE)).files if isinstance(f, DicomSeries)
    )
    slices = [pydicom.dcmread(replica / "AIBL" / path) for path in file.paths()]
    volume = highdicom.get_volume_from_series(slices)
    assert len({s.SOPInstanceUID for s in slices}) == len(slices) == file.scan.shape[2]
    ras = volume.to_patient_orientation("LPH")  # towards left, posterior, head: DICOM's own order
    picture = make_picture(anatomy, file.scan)
    expected = nib.as_closest_canonical(nib.Nifti1Image(picture.array, picture.affine))
    np.testing.assert_array_equal(ras.array, np.asarray(expected.dataobj)[::-1, ::-1])


def test_nothing_in_the_files_could_be_taken_for_a_patients(replica: Path) -> None:
    some = next((replica / "ADNI").rglob("*.dcm"))
    slice_ = pydicom.dcmread(some)
    assert slice_.PatientName == slice_.InstitutionName == slice_.Manufacturer == "SIMULATED"
    assert slice_.PatientID.startswith("99")
    assert slice_.PatientIdentityRemoved == "YES"
    assert not slice_.PatientBirthDate
    image = nib.nifti1.load(next((replica / "MIRIAD").rglob("*.nii")))
    assert bytes(image.header["descrip"].tobytes()).startswith(b"SIMULATED")
    header = next((replica / "OASIS2").rglob("*.hdr")).read_bytes()
    assert int.from_bytes(header[:4], "big") == 348  # big-endian Analyze 7.5
    assert b"SIMULATED" in header
    path = next(
        p
        for p in sorted((replica / "NACC/MRI/all/nifti").glob("mri*ni.zip"))
        if zipfile.is_zipfile(p)
    )
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        sidecar = next(name for name in archive.namelist() if name.endswith(".json"))
        assert b'"InstitutionName": "SIMULATED"' in archive.read(sidecar)
