"""NACC's delivery: the people of `nacc`, and one more for each trap of its tables and zips."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

from medblip.simulate.image_files import NiftiFile, PlainFile, SimulatedFile, ZipOfFiles
from medblip.simulate.layouts.delivery import Delivery, Order
from medblip.simulate.layouts.nacc import ALL, NEAR, NaccMaker, new_maker, nifti_name
from medblip.simulate.layouts.nacc_people import one_visit, population
from medblip.simulate.layouts.nacc_rows import session_cells
from medblip.simulate.people import IMPAIRED, Person, Visit, draw_people, draw_some
from medblip.simulate.table_files import TableFile

_PEOPLE = 24
_DICOM = "MRI/all/dicom"


def deliver_nacc(order: Order) -> Delivery:
    """Both tables and the zips, with their traps."""
    maker = new_maker(order)
    for person in draw_people(population(order), order.seed):
        maker.add(person)
    traps = draw_some(population(order), "NACC-traps", _PEOPLE, order.seed)
    _Traps(maker, iter(traps)).plant()
    twin = TableFile(maker.uds.path.replace("investigator", "commercial"), maker.uds.columns)
    twin.rows = maker.uds.rows[::2]
    maker.out.truth.plant("commercial-twin", "other-release", twin.path)
    maker.out.tables(maker.uds, maker.mri, twin)
    return maker.out


@dataclass
class _Traps:
    make: NaccMaker
    people: Iterator[Person]

    def plant(self) -> None:
        self._codes()
        self._impaired()
        self._behavioural()
        self._unknown_status()
        self._delivered_twice()
        self._two_zips()
        self._nan_in_json()
        self._broken_json()
        self._other_parts()
        self._unzipped()
        self._far_from_visits()
        self._number_differs()
        self._nobody()
        self._dicom_only()
        self._absent()
        self._unknown_zip()
        self._damaged()
        self._without_t1()
        self._odd_voxels()

    def _next(self) -> tuple[str, Person, Visit]:
        person = one_visit(next(self.people))
        return self.make.next_id(), person, person.visits[0]

    def _rows(self) -> tuple[str, Person, Visit, str]:
        """A person's rows in both tables; the session's name is the last item."""
        naccid, person, visit = self._next()
        name = self.make.next_zip(naccid, person, visit)
        self.make.visit_row(naccid, person, visit)
        self.make.scan_row(naccid, person, visit, f"{name}.zip")
        return naccid, person, visit, name

    def _zip(self, path: str, *parts: list[SimulatedFile], cut: int = 0) -> None:
        members = tuple(member for part in parts for member in part)
        self.make.out.add(ZipOfFiles(path, members, cut))

    def _codes(self) -> None:
        """88, 95 to 98, 99 and -4, which look like numbers, and an age of 888."""
        person = one_visit(next(self.people))
        kept = {k: v for k, v in person.visits[0].scores.items() if not k.startswith("lm_")}
        some = replace(person.visits[0], scores=kept)
        self.make.add(replace(person, education="", visits=(some,)), trap="missing-codes")
        person = one_visit(next(self.people))
        kept = {k: v for k, v in kept.items() if k != "mmse"}
        newer = replace(person.visits[0], scores=kept)
        self.make.add(replace(person, visits=(newer,)), trap="missing-codes")

    def _impaired(self) -> None:
        """NACCUDSD 2: impaired, but not MCI."""
        person = one_visit(next(self.people))
        visit = replace(person.visits[0], status=IMPAIRED)
        self.make.add(replace(person, visits=(visit,)), trap="status-2")

    def _behavioural(self) -> None:
        """NACCUDSD 8 of UDS 4: no label."""
        person = one_visit(next(self.people))
        scores = {k: v for k, v in person.visits[0].scores.items() if k != "diagnosis"}
        visit = replace(person.visits[0], scores=scores)
        self.make.add(replace(person, visits=(visit,)), trap="status-8")
        first = self.make.out.truth.scans[-1]["path"]
        self.make.out.truth.plant("status-8", "no-diagnosis", first)

    def _unknown_status(self) -> None:
        naccid, person, visit = self._next()
        name = self.make.next_zip(naccid, person, visit)
        self.make.visit_row(naccid, person, visit, NACCUDSD="7")
        self.make.scan_row(naccid, person, visit, f"{name}.zip")
        path = f"{ALL}/{nifti_name(name)}.zip"
        self._zip(path, self.make.series(person, visit, f"{name}/T1", "T1_MPR"))
        self.make.out.truth.refused(f"{path}/{name}/T1.nii", "unknown-code", "unknown-status")

    def _delivered_twice(self) -> None:
        """The same zip in both buckets."""
        naccid, person, visit, name = self._rows()
        members, inside = self.make.session_files(person, visit, name)
        for bucket in (ALL, NEAR):
            self._zip(f"{bucket}/{nifti_name(name)}.zip", members)
        paths = [f"{ALL}/{nifti_name(name)}.zip/{path}" for path in inside]
        self.make.session(naccid, person, visit, name, paths, "delivered-twice")
        self.make.out.truth.plant(
            "delivered-twice", "same-file-twice", f"{NEAR}/{nifti_name(name)}.zip"
        )

    def _two_zips(self) -> None:
        """A list of two files in one cell, as the newer system writes it."""
        naccid, person, visit = self._next()
        names = [f"{naccid}_{number:02d}" for number in (1, 2)]
        self.make.visit_row(naccid, person, visit)
        self.make.scan_row(naccid, person, visit, f"{names[0]}.zip, {names[1]}.zip")
        path = f"{ALL}/{names[1]}.zip"
        self._zip(f"{ALL}/{names[0]}.zip", self.make.series(person, visit, "s1/FLAIR", "FLAIR", 9))
        self._zip(path, self.make.series(person, visit, "s2/T1", "T1_MPR"))
        self.make.session(naccid, person, visit, names[0], [f"{path}/s2/T1.nii"], "two-zips")

    def _nan_in_json(self) -> None:
        naccid, person, visit, name = self._rows()
        path = f"{ALL}/{nifti_name(name)}.zip"
        odd = {"EchoTime": float("nan"), "Slope": float("-inf")}
        self._zip(path, self.make.series(person, visit, f"{name}/T1", "T1_MPR", facts=odd))
        self.make.session(naccid, person, visit, name, [f"{path}/{name}/T1.nii"], "nan-in-json")
        self.make.out.truth.plant("nan-in-json", "json-not-a-number", f"{path}/{name}/T1.json")

    def _broken_json(self) -> None:
        """Cut off; the image's name says enough."""
        naccid, person, visit, name = self._rows()
        path = f"{ALL}/{nifti_name(name)}.zip"
        image, _ = self.make.series(person, visit, f"{name}/T1_MPRAGE", "T1_MPR")
        broken = PlainFile(f"{name}/T1_MPRAGE.json", b'{"SeriesDescription": "T1')
        self._zip(path, [image, broken])
        inside = f"{path}/{name}/T1_MPRAGE"
        self.make.session(naccid, person, visit, name, [f"{inside}.nii"], "broken-json")
        self.make.out.truth.plant("broken-json", "bad-json", f"{inside}.json", "warning")

    def _other_parts(self) -> None:
        """A liver and a neck in T1, and an image whose sequence nobody knows."""
        naccid, person, visit, name = self._rows()
        make, path = self.make, f"{ALL}/{nifti_name(name)}.zip"
        liver = make.series(
            person, visit, f"{name}/liver", "T1 VIBE", 7, {"BodyPartExamined": "LIVER"}
        )
        neck = make.series(
            person, visit, f"{name}/neck", "T1 3D", 8, {"BodyPartExamined": "CSPINE"}
        )
        self._zip(
            path,
            make.series(person, visit, f"{name}/good", "T1 3D"),
            liver,
            neck,
            [NiftiFile(f"{name}/0007.nii", make.scan(person, visit, 6))],
        )
        make.session(naccid, person, visit, name, [f"{path}/{name}/good.nii"], "other-parts")
        for part in ("liver", "neck"):
            make.out.truth.refused(f"{path}/{name}/{part}.nii", "wrong-body-part", "other-parts")
        make.out.truth.refused(f"{path}/{name}/0007.nii", "series-unknown", "unknown-sequence")

    def _unzipped(self) -> None:
        """A tree that the user unzipped: keys missing, 15000 tesla, a sidecar without image."""
        naccid, person, visit = self._next()
        name = self.make.next_zip(naccid, person, visit)
        self.make.visit_row(naccid, person, visit)
        self.make.scan_row(naccid, person, visit, f"{name}.zip", MRIFIELD="9")
        folder = f"{ALL}/{nifti_name(name)}/{naccid}/x"
        facts = b'{"SeriesDescription": "T1_MPR", "MagneticFieldStrength": 15000}'
        self.make.out.add(
            NiftiFile(f"{folder}/T1.nii", self.make.scan(person, visit)),
            PlainFile(f"{folder}/T1.json", facts),
            PlainFile(f"{folder}/lost_T1.json", facts),
        )
        codes = [c for c in (session_cells(person, visit)["missing_codes"],) if c]
        self.make.session(
            naccid,
            person,
            visit,
            name,
            [f"{folder}/T1.nii"],
            "unzipped",
            field_strength_t="",
            missing_codes=",".join(["field_strength_t=9", *codes]),
        )
        plant = self.make.out.truth.plant
        plant("missing-keys", "sidecar-missing-keys", f"{folder}/T1.nii")
        plant("15000-tesla", "bad-field-strength", f"{folder}/T1.nii")
        plant("json-without-nifti", "json-without-nifti", f"{folder}/lost_T1.json", "warning")

    def _far_from_visits(self) -> None:
        """200 days after the only visit: no label and no scores."""
        naccid, person, visit = self._next()
        name = self.make.next_zip(naccid, person, visit)
        self.make.visit_row(naccid, person, visit)
        day = visit.day + timedelta(days=200)
        dated = {"MRIMO": str(day.month), "MRIDY": str(day.day), "MRIYR": str(day.year)}
        where = self.make.scan_row(naccid, person, visit, f"{name}.zip", NACCMRDY="200", **dated)
        path = f"{ALL}/{nifti_name(name)}.zip"
        self._zip(path, self.make.series(person, visit, f"{name}/T1", "T1_MPR"))
        self.make.out.truth.plant("far-from-visits", "no-visit-in-window", where, "warning")
        blank = dict.fromkeys(("missing_codes", *_OF_THE_VISIT), "")
        scan = [f"{path}/{name}/T1.nii"]
        when = {"scan_date": day.isoformat()}
        self.make.session(naccid, person, visit, name, scan, "far-from-visits", **blank, **when)

    def _number_differs(self) -> None:
        """NACCVNUM of the MRI table is not that of the nearest visit."""
        naccid, person, visit = self._next()
        name = self.make.next_zip(naccid, person, visit)
        self.make.visit_row(naccid, person, visit)
        where = self.make.scan_row(naccid, person, visit, f"{name}.zip", NACCVNUM="2")
        path = f"{ALL}/{nifti_name(name)}.zip"
        self._zip(path, self.make.series(person, visit, f"{name}/T1", "T1_MPR"))
        self.make.out.truth.plant("visit-number", "visit-number-differs", where, "warning")
        self.make.session(naccid, person, visit, name, [f"{path}/{name}/T1.nii"], "visit-number")

    def _nobody(self) -> None:
        """A scan of somebody without a UDS visit."""
        naccid, person, visit = self._next()
        name = self.make.next_zip(naccid, person, visit)
        where = self.make.scan_row(naccid, person, visit, f"{name}.zip")
        path = f"{ALL}/{nifti_name(name)}.zip"
        self._zip(path, self.make.series(person, visit, f"{name}/T1", "T1_MPR"))
        self.make.out.truth.plant("no-uds-visit", "no-participant-row", where, "warning")
        blank = dict.fromkeys(("missing_codes", "sex", "education_years", *_OF_THE_VISIT), "")
        scan = [f"{path}/{name}/T1.nii"]
        self.make.session(naccid, person, visit, name, scan, "no-uds-visit", **blank)

    def _dicom_only(self) -> None:
        *_, name = self._rows()
        path = f"{_DICOM}/{name}.zip"
        self._zip(path, [PlainFile(f"{name}/1/0001.dcm", b"\0" * 128 + b"DICM")])
        self.make.out.truth.refused(path, "dicom-only", "dicom-only")

    def _absent(self) -> None:
        """A row whose zip was not downloaded."""
        naccid, person, visit = self._next()
        name = self.make.next_zip(naccid, person, visit)
        self.make.visit_row(naccid, person, visit)
        where = self.make.scan_row(naccid, person, visit, f"{name}.zip")
        self.make.out.truth.plant("row-without-scan", "row-without-scan", where, "warning")

    def _unknown_zip(self) -> None:
        """A zip that no row names."""
        naccid, person, visit = self._next()
        name = self.make.next_zip(naccid, person, visit)
        path = f"{ALL}/{nifti_name(name)}.zip"
        self._zip(path, self.make.series(person, visit, f"{name}/T1", "T1_MPR"))
        scan = f"{path}/{name}/T1.nii"
        self.make.out.truth.refused(scan, "scan-without-row", "scan-without-row")

    def _damaged(self) -> None:
        """A zip whose end did not arrive."""
        _, person, visit, name = self._rows()
        path = f"{ALL}/{nifti_name(name)}.zip"
        self._zip(path, self.make.series(person, visit, f"{name}/T1", "T1_MPR"), cut=200)
        self.make.out.truth.refused(path, "bad-archive", "damaged-zip")

    def _without_t1(self) -> None:
        _, person, visit, name = self._rows()
        path = f"{ALL}/{nifti_name(name)}.zip"
        self._zip(path, self.make.series(person, visit, f"{name}/FLAIR", "FLAIR", 9))
        self.make.out.truth.plant("no-t1", "no-t1", path, "warning")
        self.make.out.truth.plant("no-t1", "other-series", path)

    def _odd_voxels(self) -> None:
        """A 4D and a colour image that call themselves T1, beside a good one."""
        naccid, person, visit, name = self._rows()
        make, path = self.make, f"{ALL}/{nifti_name(name)}.zip"
        parts = [make.series(person, visit, f"{name}/2_T1", "T1_MPR")]
        scan = make.scan(person, visit, 5)
        for image in (
            NiftiFile(f"{name}/3_T1_4D.nii", scan, volumes=2),
            NiftiFile(f"{name}/4_T1_RGB.nii", scan, colour=True),
        ):
            _, facts = make.series(person, visit, image.path.removesuffix(".nii"), "T1_MPR")
            parts.append([image, facts])
        self._zip(path, *parts)
        make.session(naccid, person, visit, name, [f"{path}/{name}/2_T1.nii"], "odd-voxels")
        for stem, finding in (("3_T1_4D", "needs-volume-index"), ("4_T1_RGB", "rgb-volume")):
            scan_path = f"{path}/{name}/{stem}.nii"
            make.out.truth.refused(scan_path, finding, "odd-voxels", stage="image")


_OF_THE_VISIT = (
    *("visit_code", "clinical_date", "match_days", "mmse", "cdr_global", "cdr_sb"),
    *("lm_immediate", "lm_delayed", "diagnosis", "diagnosis_source", "diagnosis_detail"),
)
