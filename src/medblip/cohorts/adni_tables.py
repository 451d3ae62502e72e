"""ADNI's clinical tables: found under every name they go by, read by column name, rows by visit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medblip.cohorts.collecting import Collector
from medblip.cohorts.foreign import ADNI, foreign_tables, refuse_absent
from medblip.cohorts.loni_tables import note_absent
from medblip.cohorts.vendor_tables import VendorTable, find_table, read_vendor_table

MERGE = "ADNIMERGE"
DXSUM = "DXSUM"
DEMOGRAPHICS = "PTDEMOG"
DAYS = ("EXAMDATE", "VISDATE")  # columns that may hold a visit's day, best first


@dataclass(frozen=True)
class _Spec:
    """One table: the names it goes by, and the columns that are read besides the visit's."""

    names: tuple[str, ...]
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


_SPECS: dict[str, _Spec] = {
    MERGE: _Spec(
        ("ADNIMERGE",),
        ("PTID", "DX"),
        (
            *("DX_bl", "AGE", "EXAMDATE_bl", "PTGENDER", "PTEDUCAT", "SITE", "ORIGPROT"),
            *("MMSE", "CDRSB", "LDELTOTAL"),
        ),
    ),
    DXSUM: _Spec(
        ("DXSUM", "DXSUM_PDXCONV_ADNIALL", "DXSUM_PDXCONV"),
        ("PHASE",),
        ("PTID", "SITEID", "DXCHANGE", "DXCURREN", "DIAGNOSIS", "DXAD", "DXDDUE"),
    ),
    "MMSE": _Spec(("MMSE",), ("MMSCORE",)),
    "CDR": _Spec(("CDR",), ("CDGLOBAL",)),
    "NEUROBAT": _Spec(("NEUROBAT",), ("LIMMTOTAL", "LDELTOTAL")),
    DEMOGRAPHICS: _Spec(("PTDEMOG",), ("PTGENDER",), ("PTID", "PTDOBYY", "PTEDUCAT")),
}


def read_tables(
    collector: Collector, files: Sequence[Path], encoding: str
) -> dict[str, VendorTable]:
    """Read the tables that are there.

    Raises:
        InputError: neither ADNIMERGE nor DXSUM is there, so no scan could be given a diagnosis;
            or a table cannot be read.
    """
    tables = {}
    root, findings = collector.root, collector.findings
    for key, spec in _SPECS.items():
        path = find_table(root, spec.names, findings=findings, files=files)
        if path is None:
            continue
        tables[key] = read_vendor_table(
            path,
            root,
            required=("RID", "VISCODE", *spec.required),
            optional=("VISCODE2", *DAYS, *spec.optional),
            encoding=encoding,
            findings=findings,
        )
        collector.read_from(path)
    if MERGE not in tables and DXSUM not in tables:
        refuse_absent(root, "ADNIMERGE or DXSUM table", files, [ADNI], encoding)
    for key in (key for key in _SPECS if key not in tables):
        note_absent(collector, key, f"{key}.csv")
    findings.extend(foreign_tables(root, files, [ADNI], encoding))
    return tables
