"""A NACC visit as rows: of the UDS table, of the MRI table, and of the truth."""

from __future__ import annotations

from datetime import timedelta

from medblip.simulate.image_files import SIMULATED
from medblip.simulate.layouts.nacc_people import (
    LABEL,
    NO_STATUS,
    NOT_COLLECTED,
    SCORES,
    STATUS,
    age_at,
    centre_of,
    code,
    scan_day,
    scanner_of,
)
from medblip.simulate.people import DAYS_A_YEAR, IMPAIRED, Person, Visit

UDS = (
    *("NACCID", "NACCADC", "PACKET", "FORMVER", "VISITMO", "VISITDAY", "VISITYR", "NACCVNUM"),
    *("NACCAVST", "NACCNVST", "NACCDAYS", "NACCFDYS", "BIRTHMO", "BIRTHYR", "SEX", "HISPANIC"),
    *("EDUC", "MARISTAT", "CDRSUM", "CDRGLOB", "NACCUDSD", "NACCALZD", "NACCALZP", "NACCETPR"),
    *("NACCTMCI", "NACCMMSE", "LOGIMEM", "LOGIPREV", "MEMUNITS", "MEMTIME", "NACCMOCA"),
    *("CRAFTVRS", "CRAFTURS", "CRAFTDVR", "CRAFTDRE", "NACCAGE", "NACCNE4S"),
)
MRI = (
    *("NACCADC", "NACCID", "MRIMO", "MRIDY", "MRIYR", "NACCMRIA", "NACCMRFI", "NACCMNUM"),
    *("NACCMRDY", "MRIT1", "MRIT2", "MRIDTI", "MRIDWI", "MRIFLAIR", "MRIOTHER", "MRIFIELD"),
    *("MRIMANU", "MRIMODL", "NACCMVOL", "NACCICV", "NACCBRNV", "NACCWMVL", "NACCNIFT"),
    *("NACCNMRI", "NACCDICO", "NACCVNUM", "NACCMRSA"),
)

_MANUFACTURER = {"GE": "1", "Siemens": "2", "Philips": "3"}
_FIELD = {1.5: "1", 3.0: "2"}


_SECOND_TESTS = ("CRAFTVRS", "CRAFTURS", "CRAFTDVR", "CRAFTDRE")


def visit_cells(naccid: str, person: Person, visit: Visit) -> dict[str, str]:
    """The row of the UDS table."""
    scores, newer = visit.scores, not any(n in visit.scores for n in ("mmse", "lm_immediate"))
    born = visit.day - timedelta(days=round(visit.age * DAYS_A_YEAR))
    judged = "diagnosis" in scores
    alzheimers = {"MCI": ("1", "1", "1", "1"), "AD": ("1", "1", "1", "8")}
    causes = alzheimers.get(visit.status, ("8", "8", "88", "8"))
    return {
        "NACCID": naccid,
        "NACCADC": centre_of(person),
        "PACKET": "I" if visit.number == 1 else "F",
        "FORMVER": "3" if newer else "2",
        "VISITMO": str(visit.day.month),
        "VISITDAY": str(visit.day.day),
        "VISITYR": str(visit.day.year),
        "NACCVNUM": str(visit.number),
        "NACCAVST": str(len(person.visits)),
        "NACCNVST": str(len(person.visits)),
        "NACCDAYS": str((person.visits[-1].day - person.visits[0].day).days),
        "NACCFDYS": str((visit.day - person.visits[0].day).days),
        "BIRTHMO": str(born.month),
        "BIRTHYR": str(born.year),
        "SEX": {"M": "1", "F": "2"}[person.sex],
        "HISPANIC": "0",
        "EDUC": person.education or "99",
        "MARISTAT": "9",
        "CDRSUM": scores["cdr_sb"],
        "CDRGLOB": scores["cdr_global"],
        "NACCUDSD": STATUS[visit.status] if judged else NO_STATUS,
        **dict(zip(("NACCALZD", "NACCALZP", "NACCETPR", "NACCTMCI"), causes, strict=True)),
        "NACCMMSE": scores.get("mmse", code(visit, "mmse")),
        "LOGIMEM": scores.get("lm_immediate", code(visit, "lm_immediate")),
        "LOGIPREV": "88" if not newer else NOT_COLLECTED,
        "MEMUNITS": scores.get("lm_delayed", code(visit, "lm_delayed")),
        "MEMTIME": "25" if "lm_delayed" in scores else NOT_COLLECTED,
        "NACCMOCA": "24" if newer else NOT_COLLECTED,
        **dict.fromkeys(_SECOND_TESTS, "17" if newer else NOT_COLLECTED),
        "NACCAGE": str(int(visit.age)),
        "NACCNE4S": "9",
    }


def scan_cells(naccid: str, person: Person, visit: Visit, files: str) -> dict[str, str]:
    """The row of the MRI table."""
    day, site = scan_day(person, visit), scanner_of(person).site
    return {
        "NACCADC": centre_of(person),
        "NACCID": naccid,
        "MRIMO": str(day.month),
        "MRIDY": str(day.day),
        "MRIYR": str(day.year),
        "NACCMRIA": age_at(person, visit),
        "NACCMRFI": files,
        "NACCMNUM": str(visit.number),
        "NACCMRDY": str((day - visit.day).days),
        "MRIT1": "1",
        **dict.fromkeys(("MRIT2", "MRIDTI", "MRIDWI", "MRIOTHER", "NACCMVOL"), "0"),
        "MRIFLAIR": "1",
        "MRIFIELD": _FIELD[site.field_strength_t],
        "MRIMANU": _MANUFACTURER[site.name.partition("-")[0]],
        "MRIMODL": SIMULATED,
        **dict.fromkeys(("NACCICV", "NACCBRNV", "NACCWMVL"), "9999.999"),
        "NACCNIFT": "1",
        "NACCNMRI": str(len(person.visits)),
        "NACCDICO": "0",
        "NACCVNUM": str(visit.number),
        "NACCMRSA": "0",
    }


def session_cells(person: Person, visit: Visit) -> dict[str, str]:
    """The row of ``sessions.tsv`` of a scan that is matched to its own visit."""
    day, scores = scan_day(person, visit), visit.scores
    first_day = min(scan_day(person, v) for v in person.visits)
    judged = "diagnosis" in scores
    detail = {IMPAIRED: "IMCI", "MCI": "NACCETPR=1", "AD": "NACCETPR=1"}.get(visit.status, "")
    return {
        "visit_code": str(visit.number),
        "scan_date": day.isoformat(),
        "days_from_baseline": str((day - first_day).days),
        "clinical_date": visit.day.isoformat(),
        "match_days": str((day - visit.day).days),
        "age": age_at(person, visit),
        "sex": person.sex,
        "education_years": person.education,
        **{name: scores.get(name, "") for name in SCORES},
        "diagnosis": LABEL[visit.status] if judged else "",
        "diagnosis_source": f"NACCUDSD={STATUS[visit.status]}" if judged else "",
        "diagnosis_detail": detail if judged else "",
        "site": centre_of(person),
        "field_strength_t": f"{scanner_of(person).site.field_strength_t:g}",
        "missing_codes": _missing(person, visit),
    }


def _missing(person: Person, visit: Visit) -> str:
    codes = [] if person.education else ["education_years=99"]
    codes += [f"{name}={code(visit, name)}" for name in SCORES if name not in visit.scores]
    return ",".join([*codes, *([] if "diagnosis" in visit.scores else [f"diagnosis={NO_STATUS}"])])
