"""The paper's five cohorts in small, each exactly as its vendor delivers it, with the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache as cache_result
from pathlib import Path

from medblip.errors import UsageError
from medblip.notice import SIMULATED_DATA
from medblip.parallel import run_all
from medblip.simulate.anatomy import Anatomy, anatomy_file, load_anatomy, read_anatomy
from medblip.simulate.dataset import PLAN_FILE, TRUTH_FOLDER, claim, write_tsv
from medblip.simulate.image_files import SimulatedFile
from medblip.simulate.layouts.adni_traps import deliver_adni
from medblip.simulate.layouts.aibl_traps import deliver_aibl
from medblip.simulate.layouts.delivery import Delivery, Order
from medblip.simulate.layouts.miriad import deliver_miriad
from medblip.simulate.layouts.nacc_traps import deliver_nacc
from medblip.simulate.layouts.oasis1 import deliver_oasis1
from medblip.simulate.layouts.oasis2 import deliver_oasis2
from medblip.simulate.pictures import Acquisition, Picture, make_picture
from medblip.simulate.truth import (
    CHANGE_COLUMNS,
    SCAN_COLUMNS,
    STATE_COLUMNS,
    TRAP_COLUMNS,
    with_change,
)
from medblip.storage import replacing
from medblip.study.schema import SESSION_COLUMNS
from medblip.study.tables import nearest

VERSION = 2  # raise it whenever the same arguments give other bytes

LAYOUTS: Mapping[str, Callable[[Order], Delivery]] = {
    "ADNI": deliver_adni,
    "NACC": deliver_nacc,
    "OASIS1": deliver_oasis1,
    "OASIS2": deliver_oasis2,
    "AIBL": deliver_aibl,
    "MIRIAD": deliver_miriad,
}


@dataclass(frozen=True)
class Replica:
    """What `simulate_replica` wrote.

    Attributes:
        folders: one for each cohort.
        scans: T1-weighted scans in all of them, used and refused.
        written: files that were not there before.
    """

    folders: tuple[Path, ...]
    scans: int
    written: int


def simulate_replica(
    out: Path,
    *,
    replica: int = 100,
    cohorts: Sequence[str] = tuple(LAYOUTS),
    seed: int = 0,
    scale: float = 0.5,
    template: Path,
    cache: Path,
    workers: int = 2,
    progress: bool = True,
) -> Replica:
    """Write ``out/<COHORT>`` for each cohort, and what a right reader finds to ``ground_truth``.

    Files already there are kept, so an interrupted run goes on where it stopped; the same
    arguments always give the same bytes. The traps are planted beside the ``1:replica`` people.

    Args:
        replica: one scan for this many of the paper's.
        cohorts: names from `LAYOUTS`, in any case.
        seed: of people and images.
        scale: voxels along each axis, relative to the vendor's matrix; the field of view stays.
        template: folder with ``t1.nii.gz``, ``gm.nii.gz`` and ``atlas.nii.gz``.
        cache: folder for the anatomy derived from the template.

    Raises:
        UsageError: an unknown cohort, a bad ``replica`` or ``scale``, or ``out`` holds a
            simulation made with other arguments.
    """
    names = _known(cohorts)
    if replica < 1 or not 0 < scale <= 1:
        problem = f"replica is {replica} and scale {scale:g}; expected 1 or more, and 0 to 1"
        raise UsageError("replica", problem, "choose others", code="bad-replica")
    claim(out / PLAN_FILE, {"version": VERSION, "replica": replica, "seed": seed, "scale": scale})
    derived = load_anatomy(template, cache)
    order = Order(replica, seed, scale)
    deliveries = [LAYOUTS[name](order) for name in names]
    for delivery in deliveries:
        delivery.text("README.txt", _readme(delivery))
    jobs = [(out / d.cohort, file) for d in deliveries for file in d.files]
    results = run_all(
        write_file,
        anatomy_file(template, cache),
        jobs,
        title="Simulating scans",
        unit="file",
        workers=workers,
        progress=progress,
    )
    written = sum(results)
    for delivery in deliveries:
        _write_truth(out / TRUTH_FOLDER, delivery, derived)
    scans = sum(len(delivery.truth.scans) for delivery in deliveries)
    return Replica(tuple(out / d.cohort for d in deliveries), scans, written)


# Read once in each process, not once for each file.
_read_anatomy = cache_result(read_anatomy)


def write_file(anatomy: Path, job: tuple[Path, SimulatedFile]) -> int:
    """Write one job's files unless all are there; how many were written.

    Args:
        anatomy: file that `save_anatomy` wrote.
        job: the cohort's folder, and what to make.
    """
    folder, file = job
    if all((folder / path).exists() for path in file.paths()):
        return 0

    def draw(scan: Acquisition) -> Picture:
        return make_picture(_read_anatomy(anatomy), scan)

    written = 0
    for path, data in file.contents(draw):
        with replacing(folder / path, sync=False) as temporary:
            temporary.write_bytes(data)
        written += 1
    return written


def _known(cohorts: Sequence[str]) -> list[str]:
    known = {name.casefold(): name for name in LAYOUTS}
    unknown = [name for name in cohorts if name.casefold() not in known]
    if unknown or not cohorts:
        problem = f"{unknown[0]!r} is no cohort" if unknown else "no cohort is given"
        fix = (unknown and nearest(unknown[0], LAYOUTS)) or f"the cohorts are {', '.join(LAYOUTS)}"
        raise UsageError("cohorts", problem, fix, code="unknown-cohort")
    return [name for name in LAYOUTS if name.casefold() in {c.casefold() for c in cohorts}]


def _readme(delivery: Delivery) -> str:
    order = delivery.order
    return (
        f"{SIMULATED_DATA}\n\n"
        f"{delivery.cohort}: names, headers and codes as its vendor delivers them; everybody and "
        "everything in it is invented.\n"
        f"Made by `medblip simulate --replica {order.replica}` with seed {order.seed}: one scan "
        f"for {order.replica} of the paper's, and planted traps beside them.\n"
        f"Image scale {order.scale:g}: voxels along each axis relative to the vendor's matrix; the "
        "field of view is the vendor's.\n"
    )


def _write_truth(folder: Path, delivery: Delivery, derived: Anatomy) -> None:
    truth, name = delivery.truth, delivery.cohort
    sessions = [column.name for column in SESSION_COLUMNS]
    for kind, columns, rows in (
        ("sessions", sessions, truth.sessions),
        ("scans", SCAN_COLUMNS, truth.scans),
        ("traps", TRAP_COLUMNS, truth.traps),
        ("states", (*STATE_COLUMNS, *CHANGE_COLUMNS), with_change(truth.states, derived)),
    ):
        write_tsv(folder / f"{name}_{kind}.tsv", columns, rows)


__all__ = ["LAYOUTS", "Replica", "simulate_replica", "write_file"]
