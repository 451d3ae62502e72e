"""ADNI as it is downloaded: tables of several phases and releases, DICOM and processed NIfTI."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta

from medblip.simulate.image_files import SIMULATED
from medblip.simulate.layouts.adni_people import (
    DAYS_A_MONTH,
    LAST_RID,
    MONTHS,
    PROCESSED,
    PROTOCOLS,
    SCALED,
    SERIES,
    Subject,
    age_at,
    visit_code,
)
from medblip.simulate.layouts.adni_tables import (
    DX,
    DX_COLUMN,
    LABEL,
    Tables,
    cause_of,
    diagnosis_cells,
    slashed,
)
from medblip.simulate.layouts.delivery import Delivery, Order
from medblip.simulate.layouts.loni import LoniTree
from medblip.simulate.people import Person, Visit
from medblip.simulate.pictures import Acquisition, acquisition
from medblip.simulate.truth import Truth, number


@dataclass
class AdniMaker:
    """The download while it grows."""

    out: Delivery
    tables: Tables = field(default_factory=Tables)
    rids: dict[str, int] = field(default_factory=lambda: dict(LAST_RID))

    def __post_init__(self) -> None:
        self.tree = LoniTree(self.out)

    def enrol(self, person: Person, phase: str) -> Subject:
        self.rids[phase] -= 1
        return Subject(person, phase, self.rids[phase] + 1)

    def add(self, subject: Subject, *, trap: str = "") -> None:
        """All rows and images of a subject, and the truth about them."""
        self.demographics(subject)
        first_day = min(
            day for visit in subject.person.visits for day in (visit.day, subject.scan_day(visit))
        )
        before = ""
        for visit in subject.person.visits:
            self.rows(subject, visit, before)
            before = visit.status
            paths = self.images(subject, visit)
            fields = self.fields(subject, visit, first_day)
            code = visit_code(visit)
            self.out.truth.session(subject.ptid, code, visit, paths, fields, trap=trap)

    # ------------------------------------------------------------ tables

    def demographics(self, subject: Subject) -> None:
        person = subject.person
        born = person.visits[0].day.year - int(person.visits[0].age)
        cells = {
            "PTGENDER": {"M": "1", "F": "2"}[person.sex],
            "PTDOBYY": str(born),
            "PTEDUCAT": person.education or "-4",
        }
        self.visit_row("PTDEMOG", subject, "sc", None, **cells)
        self.visit_row("APOERES", subject, "sc", None, APGEN1="3", APGEN2="3")

    def rows(self, subject: Subject, visit: Visit, before: str) -> None:
        """A visit's rows; MMSE and CDR of the baseline were taken at the screening."""
        if subject.in_merge:
            self.merge_row(subject, visit)
        code, day = visit_code(visit), visit.day
        cells = diagnosis_cells(subject.phase, visit.status, before)
        self.visit_row("DXSUM", subject, code, day, **cells)
        screened = visit.number == 1 and subject.in_merge
        self.score_rows(subject, visit, "sc" if screened else code)
        lm = [visit.scores.get(name, subject.absent) for name in ("lm_immediate", "lm_delayed")]
        self.visit_row("NEUROBAT", subject, code, day, LIMMTOTAL=lm[0], LDELTOTAL=lm[1])

    def score_rows(self, subject: Subject, visit: Visit, code: str) -> None:
        """MMSE and CDR; at the screening a score that was not collected has no row."""
        day = visit.day - timedelta(days=20) if code == "sc" else visit.day
        for table, column, name in (
            ("MMSE", "MMSCORE", "mmse"),
            ("CDR", "CDGLOBAL", "cdr_global"),
        ):
            if name in visit.scores or code != "sc":
                score = visit.scores.get(name, subject.absent)
                self.visit_row(table, subject, code, day, **{column: score})

    def visit_row(
        self, table: str, subject: Subject, code: str, day: date | None, **cells: str
    ) -> str:
        return self.tables.add(table, subject.phase, subject.ptid, code, day, **cells)

    def merge_row(self, subject: Subject, visit: Visit, **changes: str) -> str:
        """A row of ADNIMERGE; its place."""
        first, scores = subject.person.visits[0], visit.scores
        months = (visit.day - first.day).days / DAYS_A_MONTH
        row = {
            "RID": str(subject.rid),
            "COLPROT": subject.phase,
            "ORIGPROT": subject.phase,
            "PTID": subject.ptid,
            "SITE": subject.ptid[:3],
            "VISCODE": visit_code(visit),
            "EXAMDATE": visit.day.isoformat(),
            "DX_bl": subject.group,
            "AGE": f"{first.age:.1f}",
            "PTGENDER": subject.sex,
            "PTEDUCAT": subject.person.education,
            "ABETA": ">1700",
            "CDRSB": scores.get("cdr_sb", ""),
            "MMSE": scores.get("mmse", ""),
            "LDELTOTAL": scores.get("lm_delayed", ""),
            "FSVERSION": SIMULATED,
            "DX": DX[visit.status],
            "EXAMDATE_bl": first.day.isoformat(),
            "CDRSB_bl": first.scores.get("cdr_sb", ""),
            "MMSE_bl": first.scores.get("mmse", ""),
            "LDELTOTAL_BL": first.scores.get("lm_delayed", ""),
            "Years_bl": f"{months / 12:.4f}",
            "Month_bl": f"{months:.3f}",
            "Month": str(MONTHS[visit.number - 1]),
            "M": str(MONTHS[visit.number - 1]),
            "update_stamp": SIMULATED,
        }
        return self.tables.merge.put({**row, **changes})

    def list_image(
        self,
        subject: Subject,
        visit: str,
        day: date,
        image: int,
        series: str,
        *,
        processed: bool = False,
        tesla: str = "",
    ) -> None:
        """A row in each list of images that has this phase.

        Args:
            subject, visit, day, image, series: what it is; the visit by its code.
            processed: whether ADNI made it of an original.
            tesla: where it is not the protocol's.
        """
        ptid = subject.ptid
        strength = tesla or f"{PROTOCOLS[subject.phase].site.field_strength_t:.1f}"
        known = subject.phase in ("ADNI1", "ADNIGO", "ADNI2")
        code = "sc" if visit == "bl" and not known else visit
        if known:
            self.tables.meta.put(
                {
                    "SubjectID": ptid,
                    "Visit": _visit_name(subject.phase, visit),
                    "MagStrength": strength,
                    "Sequence": series,
                    "ScanDate": day.isoformat(),
                    "StudyID": "0",
                    "SeriesID": str(image // 10),
                    "ImageUID": str(image),
                    "Orig/Proc": "Processed" if processed else "Original",
                }
            )
        self.tables.images.put(
            {
                "image_id": str(image),
                "subject_id": ptid,
                "image_date": day.isoformat(),
                "image_description": series,
                "image_type": "Pre-processed" if processed else "Original",
                "study_id": "0",
                "VISCODE2": code,
            }
        )
        age = int(subject.person.visits[0].age)
        cells = (f"I{image}", ptid, subject.group, subject.person.sex, str(age), code, "MRI")
        kind = ("Processed", "NiFTI") if processed else ("Original", "DCM")
        more = (series, kind[0], slashed(day), kind[1], "1/15/2025")
        columns = self.tables.collection.columns
        self.tables.collection.put(dict(zip(columns, (*cells, *more), strict=True)))

    # ------------------------------------------------------------ images

    def images(self, subject: Subject, visit: Visit) -> list[str]:
        """The images of a visit, listed; paths, the primary one first."""
        day, code = subject.scan_day(visit), visit_code(visit)
        series = SERIES.get(subject.phase, "MPRAGE")
        paths = []
        if subject.phase == "ADNI1" and visit.images > 1:
            scan = acquisition(subject.person, visit, self.out.scaled(PROCESSED))
            image = self.tree.next_image()
            self.list_image(subject, code, day, image, SCALED, processed=True)
            paths.append(self.tree.nifti(subject.ptid, SCALED, day, scan, image))
        original = self.tree.next_image()
        self.list_image(subject, code, day, original, series)
        scan = self.scan(subject, visit)
        as_file = original % 5 == 0  # one of five originals was downloaded as NIfTI
        if as_file:
            paths.append(self.tree.nifti(subject.ptid, series, day, scan, original, raw=True))
        else:
            folder = f"S{original // 10}" if original % 3 else ""  # as in old downloads
            path = self.tree.dicom(subject.ptid, series, day, scan, original, folder=folder)
            paths.append(path)
        if len(paths) < visit.images - 1 and not as_file:
            paths.append(self.tree.nifti(subject.ptid, series, day, scan, original, raw=True))
        while len(paths) < visit.images:
            image = self.tree.next_image()
            name = f"{series}_Repeat"
            self.list_image(subject, code, day, image, name)
            run = len(paths) + 1
            paths.append(
                self.tree.dicom(subject.ptid, name, day, self.scan(subject, visit, run), image)
            )
        return paths

    def scan(self, subject: Subject, visit: Visit, run: int = 1) -> Acquisition:
        return acquisition(subject.person, visit, self.out.scaled(PROTOCOLS[subject.phase]), run)

    # ------------------------------------------------------------ truth

    def fields(self, subject: Subject, visit: Visit, first_day: date) -> dict[str, str]:
        """What a visit's row of ``sessions.tsv`` says."""
        day, scores, phase = subject.scan_day(visit), visit.scores, subject.phase
        label = LABEL[visit.status]
        details = [subject.group] if visit.number == 1 and subject.in_merge else []
        details += filter(None, [cause_of(phase, visit.status)])
        source = f"DX={DX[visit.status]}"
        if not subject.in_merge:
            source = f"{DX_COLUMN.get(phase, 'DIAGNOSIS')}={list(LABEL).index(visit.status) + 1}"
        strength = PROTOCOLS[phase].site.field_strength_t
        return {
            "visit_code": visit_code(visit),
            "scan_date": day.isoformat(),
            "days_from_baseline": str((day - first_day).days),
            "clinical_date": visit.day.isoformat(),
            "match_days": str((day - visit.day).days),
            "age": age_at(subject, day),
            "sex": subject.person.sex,
            "education_years": subject.person.education,
            "mmse": scores.get("mmse", ""),
            "cdr_global": scores.get("cdr_global", ""),
            "cdr_sb": scores.get("cdr_sb", "") if subject.in_merge else "",
            "lm_immediate": scores.get("lm_immediate", ""),
            "lm_delayed": scores.get("lm_delayed", ""),
            "diagnosis": label,
            "diagnosis_source": source,
            "diagnosis_detail": "; ".join(details),
            "site": subject.ptid[:3],
            "field_strength_t": number(strength) if phase in ("ADNI1", "ADNIGO", "ADNI2") else "",
            "missing_codes": _missing(subject, visit),
        }


def _missing(subject: Subject, visit: Visit) -> str:
    screened = visit.number == 1 and subject.in_merge
    names = ["lm_immediate", "lm_delayed"]
    if not screened:
        names = ["mmse", "cdr_global", *names]
    codes = [f"{name}={subject.absent}" for name in names if name not in visit.scores]
    return ",".join([*codes, *([] if subject.person.education else ["education_years=-4"])])


def _visit_name(phase: str, code: str) -> str:
    """A visit's name in MPRAGEMETA."""
    if code == "bl":
        names = {"ADNI1": "ADNI Screening", "ADNIGO": "ADNIGO Screening MRI"}
        return names.get(phase, "ADNI2 Screening MRI-New Pt")
    month = int(code[1:])
    if phase != "ADNI2":
        return f"ADNI1/GO Month {month}"
    return f"ADNI2 Year {month // 12} Visit" if month >= 12 else f"ADNI2 Month {month}-New Pt"


def new_maker(order: Order) -> AdniMaker:
    return AdniMaker(Delivery(order, Truth("ADNI", "mmse,cdr_global,cdr_sb,lm_delayed")))
