"""ADNI's tables: headers, names of files and visits, and the diagnosis column of each phase."""

from __future__ import annotations

from datetime import date

from medblip.simulate.image_files import SIMULATED
from medblip.simulate.table_files import TableFile

_COGNITION = """
CDRSB,ADAS11,ADAS13,ADASQ4,MMSE,RAVLT_immediate,RAVLT_learning,RAVLT_forgetting,
RAVLT_perc_forgetting,LDELTOTAL,DIGITSCOR,TRABSCOR,FAQ,MOCA,EcogPtMem,EcogPtLang,EcogPtVisspat,
EcogPtPlan,EcogPtOrgan,EcogPtDivatt,EcogPtTotal,EcogSPMem,EcogSPLang,EcogSPVisspat,EcogSPPlan,
EcogSPOrgan,EcogSPDivatt,EcogSPTotal
"""
_HEADER = f"""
RID,COLPROT,ORIGPROT,PTID,SITE,VISCODE,EXAMDATE,DX_bl,AGE,PTGENDER,PTEDUCAT,PTETHCAT,PTRACCAT,
PTMARRY,APOE4,FDG,PIB,AV45,FBB,ABETA,TAU,PTAU,{_COGNITION},FLDSTRENG,FSVERSION,IMAGEUID,
Ventricles,Hippocampus,WholeBrain,Entorhinal,Fusiform,MidTemp,ICV,DX,mPACCdigit,mPACCtrailsB,
EXAMDATE_bl,CDRSB_bl,ADAS11_bl,ADAS13_bl,ADASQ4_bl,MMSE_bl,RAVLT_immediate_bl,RAVLT_learning_bl,
RAVLT_forgetting_bl,RAVLT_perc_forgetting_bl,LDELTOTAL_BL,DIGITSCOR_bl,TRABSCOR_bl,FAQ_bl,
mPACCdigit_bl,mPACCtrailsB_bl,FLDSTRENG_bl,FSVERSION_bl,IMAGEUID_bl,Ventricles_bl,Hippocampus_bl,
WholeBrain_bl,Entorhinal_bl,Fusiform_bl,MidTemp_bl,ICV_bl,MOCA_bl,EcogPtMem_bl,EcogPtLang_bl,
EcogPtVisspat_bl,EcogPtPlan_bl,EcogPtOrgan_bl,EcogPtDivatt_bl,EcogPtTotal_bl,EcogSPMem_bl,
EcogSPLang_bl,EcogSPVisspat_bl,EcogSPPlan_bl,EcogSPOrgan_bl,EcogSPDivatt_bl,EcogSPTotal_bl,
ABETA_bl,TAU_bl,PTAU_bl,FDG_bl,PIB_bl,AV45_bl,FBB_bl,Years_bl,Month_bl,Month,M,update_stamp
"""
MERGE = tuple("".join(_HEADER.split()).split(","))
_OLD_START = ("RID", "PTID", "VISCODE", "SITE", "COLPROT", "ORIGPROT", "EXAMDATE", "DX_bl", "AGE")
OLD_MERGE = (*_OLD_START, *(column for column in MERGE if column not in _OLD_START))

_KEY = ("PHASE", "PTID", "RID", "VISCODE", "VISCODE2")
_STAMP = ("update_stamp",)
COLUMNS = {
    "DXSUM": (*_KEY, "SITEID", "EXAMDATE", "DXCHANGE", "DXCURREN", "DXAD", "DXDDUE", "DIAGNOSIS"),
    "MMSE": (*_KEY, "VISDATE", "MMSCORE"),
    "CDR": (
        *(*_KEY, "VISDATE", "CDMEMORY", "CDORIENT", "CDJUDGE", "CDCOMMUN", "CDHOME", "CDCARE"),
        "CDGLOBAL",
    ),
    "NEUROBAT": (*_KEY, "VISDATE", "LIMMTOTAL", "LDELTOTAL"),
    "PTDEMOG": (*_KEY, "VISDATE", "PTGENDER", "PTDOBYY", "PTEDUCAT"),
    "APOERES": (*_KEY, "APGEN1", "APGEN2"),
}
META = (
    *("SubjectID", "Visit", "MagStrength", "Sequence", "ScanDate", "StudyID", "SeriesID"),
    *("ImageUID", "Orig/Proc"),
)
ALL_IMAGES = (
    *("image_id", "subject_id", "image_date", "image_description", "image_type", "study_id"),
    "VISCODE2",
)
COLLECTION = (
    *("Image Data ID", "Subject", "Group", "Sex", "Age", "Visit", "Modality", "Description"),
    *("Type", "Acq Date", "Format", "Downloaded"),
)

FOLDER = "Study_Data"
_DAY = "_01Jan2025"

# Code of the diagnosis by phase; the new status after stability is its first three numbers.
STATUS = {"CN": "1", "MCI": "2", "AD": "3"}
DX = {"CN": "CN", "MCI": "MCI", "AD": "Dementia"}
LABEL = {"CN": "NC", "MCI": "MCI", "AD": "AD"}
DX_COLUMN = {"ADNI1": "DXCURREN", "ADNIGO": "DXCHANGE", "ADNI2": "DXCHANGE"}
_CHANGE = {("CN", "MCI"): "4", ("MCI", "AD"): "5", ("CN", "AD"): "6", ("MCI", "CN"): "7"}
_CAUSE = {"ADNI1": "DXAD", "ADNIGO": "DXDDUE", "ADNI2": "DXDDUE"}
_ADNI2_CODES = {
    **{"sc": "v01", "bl": "v03", "m03": "v04", "m06": "v05", "m12": "v11", "m24": "v21"},
    **{"m36": "v31", "m48": "v41"},
}


def diagnosis_cells(phase: str, status: str, before: str = "") -> dict[str, str]:
    """The diagnosis columns of DXSUM: the phase's own is filled, the others are -4."""
    cells = dict.fromkeys(("DXCHANGE", "DXCURREN", "DXAD", "DXDDUE", "DIAGNOSIS"), "-4")
    column = DX_COLUMN.get(phase, "DIAGNOSIS")
    change = _CHANGE.get((before, status)) if column == "DXCHANGE" else None
    cells[column] = change or STATUS[status]
    if status == "AD" and phase in _CAUSE:
        cells[_CAUSE[phase]] = "1"
    return cells


def cause_of(phase: str, status: str) -> str:
    """What DXSUM says of a dementia's cause."""
    return f"{_CAUSE[phase]}=1" if status == "AD" and phase in _CAUSE else ""


def own_code(phase: str, visit: str) -> str:
    """A phase's own code of a visit."""
    if phase == "ADNI2":
        return _ADNI2_CODES.get(visit, visit)
    return f"4_{visit}" if phase == "ADNI4" else visit


def slashed(day: date) -> str:
    return f"{day.month}/{day.day}/{day.year}"


class Tables:
    """All tables of the download while they grow."""

    def __init__(self) -> None:
        self.merge = TableFile(f"{FOLDER}/ADNIMERGE{_DAY}.csv", MERGE)
        self.old_merge = TableFile(f"{FOLDER}/ADNIMERGE.csv", OLD_MERGE)
        self.visits = {
            name: TableFile(f"{FOLDER}/{name}{_DAY}.csv", (*columns, *_STAMP))
            for name, columns in COLUMNS.items()
        }
        self.meta = TableFile(f"{FOLDER}/MPRAGEMETA.csv", META)
        self.images = TableFile(f"{FOLDER}/T1_All_Images{_DAY}.csv", ALL_IMAGES)
        self.collection = TableFile("SIMULATED_collection_1_15_2025.csv", COLLECTION)

    def add(
        self, table: str, phase: str, ptid: str, visit: str, day: date | None, **cells: str
    ) -> str:
        """A row of one of `COLUMNS`; its place."""
        key = {"PHASE": phase, "PTID": ptid, "RID": str(int(ptid.rpartition("_")[2]))}
        key |= {"VISCODE": own_code(phase, visit), "VISCODE2": visit, "update_stamp": SIMULATED}
        if table == "DXSUM":
            key["SITEID"] = str(int(ptid[:3]))
        if day is not None:
            key["EXAMDATE" if table == "DXSUM" else "VISDATE"] = day.isoformat()
        return self.visits[table].put({**key, **cells})

    def all(self) -> list[TableFile]:
        lists = [self.meta, self.images, self.collection]
        return [self.merge, self.old_merge, *self.visits.values(), *lists]
