"""ADNI's delivery: the people of `adni`, and one more for each trap of its tables and tree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

from medblip.simulate.layouts.adni import AdniMaker, new_maker
from medblip.simulate.layouts.adni_people import (
    PHASES,
    PROTOCOLS,
    SCALED,
    Subject,
    age_at,
    population,
    visit_code,
)
from medblip.simulate.layouts.adni_tables import diagnosis_cells
from medblip.simulate.layouts.delivery import Delivery, Order
from medblip.simulate.people import Person, Visit, draw_people, draw_some
from medblip.simulate.pictures import acquisition
from medblip.simulate.shares import Quota

_PEOPLE = 17


def deliver_adni(order: Order) -> Delivery:
    """The tables, lists of images and image tree, with their traps."""
    maker = new_maker(order)
    phases = Quota(PHASES)
    for person in draw_people(population(order), order.seed):
        maker.add(maker.enrol(person, phases.deal(person.images)))
    traps = draw_some(population(order), "ADNI-traps", _PEOPLE, order.seed)
    _Traps(maker, iter(traps)).plant()
    _older_release(maker)
    maker.out.tables(*maker.tables.all())
    return maker.out


def _older_release(maker: AdniMaker) -> None:
    """ADNIMERGE of an earlier download: no day in its name, another order, fewer rows."""
    tables = maker.tables
    tables.old_merge.rows = [dict(row) for row in tables.merge.rows[::2]]
    maker.out.truth.plant("older-release", "older-table", tables.old_merge.path)


def _one_visit(person: Person, status: str = "") -> Person:
    """The first visit, with one image; another status if asked for."""
    first = replace(person.visits[0], images=1)
    return replace(person, visits=(replace(first, status=status or first.status),))


@dataclass
class _Traps:
    make: AdniMaker
    people: Iterator[Person]

    def plant(self) -> None:
        self._screening_only("ADNI1")
        self._screening_only("ADNI2")
        self._five_digits()
        self._missing_codes()
        self._converter()
        self._both_formats()
        self._two_in_one_folder()
        self._field_strengths()
        self._no_visit()
        self._contradiction()
        self._out_of_range()
        self._unlisted()
        self._without_row()
        self._other_subject()
        self._odd_series()
        self._lost_slice()
        self._research_group()

    def _subject(self, phase: str, status: str = "") -> tuple[Subject, Visit]:
        subject = self.make.enrol(_one_visit(next(self.people), status), phase)
        return subject, subject.person.visits[0]

    def _session(
        self,
        subject: Subject,
        paths: list[str],
        trap: str,
        session: str = "",
        **changes: str,
    ) -> None:
        """The truth about the subject's only visit."""
        visit = subject.person.visits[0]
        first_day = min(visit.day, subject.scan_day(visit))
        fields = {**self.make.fields(subject, visit, first_day), **changes}
        truth = self.make.out.truth
        code = session or visit_code(visit)
        truth.session(subject.ptid, code, visit, paths, fields, trap=trap)

    def _dicom(
        self, subject: Subject, visit: Visit, series: str = "MPRAGE", folder: str = ""
    ) -> str:
        """One listed original of the visit."""
        tree, day = self.make.tree, subject.scan_day(visit)
        image = tree.next_image()
        self.make.list_image(subject, visit_code(visit), day, image, series)
        scan = self.make.scan(subject, visit)
        return tree.dicom(subject.ptid, series, day, scan, image, folder=folder)

    def _screening_only(self, phase: str) -> None:
        """Nothing at baseline, and not in ADNIMERGE: all was done at the screening."""
        make, (subject, visit) = self.make, self._subject(phase, "MCI")
        day = visit.day
        make.demographics(subject)
        cells = diagnosis_cells(phase, visit.status)
        where = make.visit_row("DXSUM", subject, "sc", day, **cells)
        for table, columns in (
            ("MMSE", {"MMSCORE": "mmse"}),
            ("CDR", {"CDGLOBAL": "cdr_global"}),
            ("NEUROBAT", {"LIMMTOTAL": "lm_immediate", "LDELTOTAL": "lm_delayed"}),
        ):
            scores = {column: visit.scores[name] for column, name in columns.items()}
            make.visit_row(table, subject, "sc", day, **scores)
        make.out.truth.plant("screening-only", "screening-merged", where)
        column = "DXCURREN" if phase == "ADNI1" else "DXCHANGE"
        born = day.year - int(subject.person.visits[0].age)
        self._session(
            subject,
            [self._dicom(subject, visit)],
            "screening-only",
            age=str(subject.scan_day(visit).year - born),
            cdr_sb="",
            diagnosis_source=f"{column}=2",
            diagnosis_detail="",
            site=str(int(subject.ptid[:3])),
        )

    def _five_digits(self) -> None:
        subject, _ = self._subject("ADNI4")
        self.make.add(subject, trap="five-digit-id")
        # The note is at the first such subject, whoever that is.
        self.make.out.truth.plant("five-digit-id", "unverified-id", "ADNI/99")

    def _missing_codes(self) -> None:
        """Scores that were not collected at a later visit: -1 in ADNI1, -4 elsewhere."""
        for phase in ("ADNI1", "ADNI2"):
            person = next(self.people)
            first = replace(person.visits[0], images=1)
            later = replace(
                first,
                number=3,
                day=first.day + timedelta(days=366),
                age=first.age + 1,
                scores={k: v for k, v in first.scores.items() if k in ("diagnosis", "cdr_sb")},
            )
            subject = self.make.enrol(replace(person, visits=(first, later)), phase)
            self.make.add(subject, trap="missing-codes")

    def _converter(self) -> None:
        """NC at baseline, MCI a year later."""
        person = next(self.people)
        first = replace(person.visits[0], images=1, status="CN")
        later = replace(
            first, number=3, day=first.day + timedelta(days=370), age=first.age + 1, status="MCI"
        )
        subject = self.make.enrol(replace(person, visits=(first, later)), "ADNIGO")
        self.make.add(subject, trap="converter")

    def _tables(self, phase: str, status: str = "") -> tuple[Subject, Visit]:
        """A subject with the tables of one visit, and no image yet."""
        subject, visit = self._subject(phase, status)
        self.make.demographics(subject)
        self.make.rows(subject, visit, "")
        return subject, visit

    def _both_formats(self) -> None:
        """One image as slices and as NIfTI: two scans of the same visit."""
        subject, visit = self._tables("ADNI2")
        tree, day = self.make.tree, subject.scan_day(visit)
        path = self._dicom(subject, visit)
        scan, image = self.make.scan(subject, visit), int(path.rsplit("_I", 1)[1].split(".")[0])
        copy = tree.nifti(subject.ptid, "MPRAGE", day, scan, image, raw=True)
        self._session(subject, [path, copy], "dicom-and-nifti")

    def _two_in_one_folder(self) -> None:
        subject, visit = self._tables("ADNI3")
        series = "Accelerated_Sagittal_MPRAGE"
        paths = [self._dicom(subject, visit, series, folder="S900009") for _ in range(2)]
        self._session(subject, paths, "two-images-in-one-folder")

    def _field_strengths(self) -> None:
        """Of a subject of ADNI1 the image of 1.5 T comes first, though that of 3 T is older."""
        make, (subject, visit) = self.make, self._tables("ADNI1")
        day, paths = subject.scan_day(visit), []
        for tesla in ("3.0", "1.5"):
            image = make.tree.next_image()
            make.list_image(subject, "bl", day, image, SCALED, processed=True, tesla=tesla)
            shape = PROTOCOLS["ADNI1" if tesla == "1.5" else "ADNI2"]
            scan = acquisition(subject.person, visit, make.out.scaled(shape))
            paths.append(make.tree.nifti(subject.ptid, SCALED, day, scan, image))
        self._session(subject, paths[::-1], "two-field-strengths")

    def _no_visit(self) -> None:
        """A scan two years after the only visit."""
        make, (subject, visit) = self.make, self._tables("ADNI1")
        day = visit.day + timedelta(days=730)
        image = make.tree.next_image()
        scan = make.scan(subject, visit)
        path = make.tree.dicom(subject.ptid, "MPRAGE", day, scan, image)
        make.out.truth.plant("no-visit", "no-visit", path, "warning")
        blank = (
            *("visit_code", "clinical_date", "match_days", "mmse", "cdr_global", "cdr_sb"),
            *("lm_immediate", "lm_delayed", "diagnosis", "diagnosis_source", "diagnosis_detail"),
            *("field_strength_t", "missing_codes"),
        )
        self._session(
            subject,
            [path],
            "no-visit",
            day.isoformat(),
            **{
                **dict.fromkeys(blank, ""),
                "scan_date": day.isoformat(),
                "days_from_baseline": "730",
                "age": age_at(subject, day),
            },
        )

    def _contradiction(self) -> None:
        """ADNIMERGE says CN, DXSUM says dementia: no label."""
        make, (subject, visit) = self.make, self._subject("ADNI1", "CN")
        make.demographics(subject)
        make.merge_row(subject, visit)
        where = make.visit_row("DXSUM", subject, "bl", visit.day, **diagnosis_cells("ADNI1", "AD"))
        make.out.truth.plant("contradiction", "conflicting-diagnosis", where, "warning")
        self._session(
            subject,
            [self._dicom(subject, visit)],
            "contradiction",
            **dict.fromkeys(
                ("cdr_global", "lm_immediate", "diagnosis", "diagnosis_source", "diagnosis_detail"),
                "",
            ),
        )

    def _out_of_range(self) -> None:
        make, (subject, visit) = self.make, self._subject("ADNIGO")
        make.demographics(subject)
        where = make.merge_row(subject, visit, MMSE="45")
        make.out.truth.plant("out-of-range", "out-of-range", where, "warning")
        self._session(
            subject,
            [self._dicom(subject, visit)],
            "out-of-range",
            mmse="",
            cdr_global="",
            lm_immediate="",
            diagnosis_detail=subject.group,
        )

    def _unlisted(self) -> None:
        """An image that no list has: its day finds the visit."""
        make, (subject, visit) = self.make, self._tables("ADNI1")
        image, scan = make.tree.next_image(), make.scan(subject, visit)
        path = make.tree.dicom(subject.ptid, "MP-RAGE", subject.scan_day(visit), scan, image)
        self._session(subject, [path], "unlisted-image", field_strength_t="")
        make.out.truth.plant("unlisted-image", "visit-by-date", "ADNI/99")

    def _without_row(self) -> None:
        make, (subject, visit) = self.make, self._subject("ADNI1")
        path = self._dicom(subject, visit)
        make.out.truth.refused(path, "scan-without-row", "scan-without-row")

    def _other_subject(self) -> None:
        """The lists give the image of one subject to another."""
        make, (subject, visit) = self.make, self._subject("ADNI2")
        make.demographics(subject)
        make.merge_row(subject, visit)
        path = self._dicom(subject, visit)
        for table, column in (
            (make.tables.meta, "SubjectID"),
            (make.tables.images, "subject_id"),
            (make.tables.collection, "Subject"),
        ):
            table.rows[-1][column] = "990_S_1990"
        make.out.truth.refused(path, "id-mismatch", "other-subject-in-list")

    def _odd_series(self) -> None:
        """A FLAIR, and a series that nobody knows."""
        make, (subject, visit) = self.make, self._tables("ADNI3")
        path = self._dicom(subject, visit, "Accelerated_Sagittal_MPRAGE")
        self._session(subject, [path], "odd-series")
        unknown = self._dicom(subject, visit, "Head_3D")
        make.out.truth.refused(unknown, "unknown-series", "odd-series")
        flair = self._dicom(subject, visit, "Sagittal_3D_FLAIR")
        make.out.truth.plant("odd-series", "other-series", flair)

    def _lost_slice(self) -> None:
        """Slices that did not arrive, inside the stack: the image is refused when it is read."""
        make, (subject, visit) = self.make, self._tables("ADNI2")
        day, image = subject.scan_day(visit), make.tree.next_image()
        make.list_image(subject, "bl", day, image, "MPRAGE")
        scan = make.scan(subject, visit)
        middle = scan.shape[2] // 2
        path = make.tree.dicom(
            subject.ptid, "MPRAGE", day, scan, image, missing=(middle, middle + 1)
        )
        kept = self._dicom(subject, visit, "MPRAGE_Repeat")
        self._session(subject, [kept], "lost-slices")
        make.out.truth.refused(path, "missing-slices", "lost-slices", stage="image")

    def _research_group(self) -> None:
        """XML beside the images names the research group, which is no diagnosis of the visit."""
        folder, first = self.make.out.cohort, self.make.out.truth.sessions[0]["participant_id"]
        ptid = first.removeprefix("ADNI-")
        path = f"{folder}/ADNI_{ptid}_MPRAGE_S9000000_I90000001.xml"
        text = (
            "<idaxs><project><subject>"
            f"<subjectIdentifier>{ptid}</subjectIdentifier><researchGroup>AD</researchGroup>"
            "</subject></project></idaxs>\n"
        )
        self.make.out.text(path, text)
        self.make.out.truth.plant("research-group", "unread-file", path)
