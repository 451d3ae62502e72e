"""From data sets to a study folder: read every scan once, list every one that is left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

import medblip
from medblip.cohorts.dataset import DataSet
from medblip.cohorts.images import Check, ImageResult, ImageSettings, ImageTask, read_image
from medblip.cohorts.inputs import SplitArguments, check_places, find_study, fingerprint
from medblip.cohorts.readers import BIDS, Download
from medblip.cohorts.repeated import write_findings
from medblip.errors import InputError, UsageError
from medblip.findings import Finding
from medblip.parallel import Engine, as_engine, run_all
from medblip.storage import remove_leftovers
from medblip.study.audit import audit, write_audit_json
from medblip.study.audit_page import write_audit
from medblip.study.info import (
    SCHEMA_VERSION,
    PreprocessingInfo,
    Source,
    StudyInfo,
    count,
    is_simulated,
    says_simulated,
)
from medblip.study.people import read_people
from medblip.study.schema import IMAGE_COLUMNS, SESSION_COLUMNS, SESSION_KEY
from medblip.study.splits import (
    FRACTIONS,
    check_cohorts,
    check_fractions,
    make_splits,
    zero_shot_by_default,
)
from medblip.study.study import (
    AUDIT_FILE,
    AUDIT_JSON_FILE,
    FINDINGS_FILE,
    IMAGES_FILE,
    SESSIONS_FILE,
    SPLITS_FILE,
    STUDY_FILE,
    Study,
)
from medblip.study.subsets import SUBSETS_FILE, make_subsets
from medblip.study.tables import write_table
from medblip.study.thumbnails import Thumbnail
from medblip.volumes.preprocessing import Preprocessing

_ANY_WRITE_S = 24 * 3600.0  # no cube takes so long to write; others may fill the cache


@dataclass(frozen=True)
class PreparedStudy:
    """What `prepare` did.

    Attributes:
        study: the study, loaded from its folder.
        reused: the folder was already complete for these sources and arguments.
        findings: of the data sets and scans, each by itself; empty when reused.
        audit: of the study as a whole, as in ``audit.html``; empty when reused.
    """

    study: Study
    reused: bool
    findings: tuple[Finding, ...] = ()
    audit: tuple[Finding, ...] = ()

    @property
    def folder(self) -> Path:
        return self.study.folder

    @property
    def found(self) -> int:
        return self.study.info.scans_found

    @property
    def used(self) -> int:
        return self.study.info.scans_used

    @property
    def skipped(self) -> int:
        """Scans left out, each with an error in ``findings.tsv``; not 0 means exit code 4."""
        return self.study.info.scans_skipped


def prepare(
    sources: Sequence[Path | Download],
    out: Path,
    *,
    preprocessing: Preprocessing,
    cache: Path,
    zero_shot: Sequence[str] | None = None,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
    same_person: Path | None = None,
    drop_label_defining_fields: bool = False,
    workers: int | None = None,
    progress: bool = True,
    check: Check | None = None,
    check_version: str = "",
    encoding: str = "utf-8-sig",
    overwrite: bool = False,
    engine: Engine = "processes",
) -> PreparedStudy:
    """Read data sets into a study folder with cubes, splits and an audit.

    A scan that cannot be used is listed in ``findings.tsv`` and never stops the others. Stopped
    at any moment, the same call goes on from the cubes in the cache; ``study.json`` is written
    last, and a folder that has it for the same sources and arguments is returned as it is.

    Args:
        sources: folders of BIDS data sets, or downloads of another kind; never written to.
        out: the study folder; new, empty, or left by an earlier call.
        preprocessing: how scans become cubes.
        cache: folder of the cubes, shared between studies.
        zero_shot: cohorts that are only tested on; None takes AIBL and MIRIAD, as the paper does,
            where there is another cohort to train on.
        fractions: shares of train, validation and test, by subject.
        seed: of the splits and the named subsets.
        same_person: table of subjects that are one person (`medblip.study.people.read_people`);
            without one, equal identifiers in two cohorts are two people.
        drop_label_defining_fields: leave the fields that a session's label was made from out of
            its record; they stay in ``sessions.tsv``.
        workers: processes; None chooses, 1 works in this process.
        progress: whether to show a bar.
        check: plausibility gate, called with each volume in RAS order; a function at module level
            or a picklable object.
        check_version: changes when ``check`` would judge differently.
        encoding: of the tables.
        overwrite: replace a study that other sources or arguments made.
        engine: what reads scans, see `medblip.parallel.run_all`; the study is the same.

    Raises:
        UsageError: wrong arguments, or ``out`` holds something else.
        InputError: a data set cannot be read at all, or no scan can be used.
        PartlyDoneError: a worker process was killed.
    """
    downloads = [s if isinstance(s, Download) else Download(s) for s in sources]
    check_places([d.root for d in downloads], out, cache)
    as_engine(engine)  # before any table is read
    data_sets = read_sources(downloads, encoding)
    cohorts = {data_set.cohort for data_set in data_sets}
    held_out = zero_shot_by_default(cohorts) if zero_shot is None else tuple(zero_shot)
    check_cohorts(held_out, cohorts)
    settings = ImageSettings(preprocessing, cache.resolve(), check, check_version)
    arguments = SplitArguments(
        held_out,
        check_fractions(fractions),
        seed,
        () if same_person is None else read_people(same_person, encoding=encoding),
        drop_label_defining_fields,
    )
    mark = fingerprint(data_sets, settings, arguments)
    done = find_study(out, mark, overwrite=overwrite)
    if done is not None and _cubes_exist(done, cache):
        return PreparedStudy(done, reused=True)
    remove_leftovers(cache, older_than_s=_ANY_WRITE_S)
    read = _read_images(data_sets, settings, workers=workers, progress=progress, engine=engine)
    if done is not None:  # the cubes were deleted; the tables may have been edited and stay
        return PreparedStudy(done, reused=True)

    study, found = _write_study(out, data_sets, settings, arguments, mark, read)
    return PreparedStudy(study, False, tuple(read.findings), tuple(found))


@dataclass(frozen=True)
class _ImagesRead:
    found: int
    images: pd.DataFrame  # of images.tsv
    findings: list[Finding]
    thumbnails: dict[str, Thumbnail]


def _write_study(
    out: Path,
    data_sets: list[DataSet],
    settings: ImageSettings,
    arguments: SplitArguments,
    mark: str,
    read: _ImagesRead,
) -> tuple[Study, list[Finding]]:
    """Write all files of the folder, ``study.json`` last, and return the study and its audit."""
    (out / STUDY_FILE).unlink(missing_ok=True)  # from here to the end the folder is incomplete
    remove_leftovers(out)
    write_findings(out, read.findings)
    if read.images.empty:
        problem = f"none of {read.found} scan(s) can be used"
        fix = f"see {out / FINDINGS_FILE} for each"
        raise InputError(str(out), problem, fix, code="no-usable-scan")
    info = _write_tables(out, data_sets, settings, arguments, mark, read)
    study = Study.assemble(out, info)  # reads and checks what was just written
    _write_subsets(study, arguments.seed)
    result = audit(study, read.thumbnails)
    write_audit(study, result, out / AUDIT_FILE, read.thumbnails)
    write_audit_json(study, result, out / AUDIT_JSON_FILE)
    info.write(out / STUDY_FILE)
    return study, result.findings


def _write_tables(
    out: Path,
    data_sets: list[DataSet],
    settings: ImageSettings,
    arguments: SplitArguments,
    mark: str,
    read: _ImagesRead,
) -> StudyInfo:
    """Write the manifest and the splits; return what ``study.json`` will say."""
    sessions = _session_table(data_sets, read.images)
    held_out = [name for name in arguments.zero_shot if name in set(sessions["cohort"])]
    splits = make_splits(
        sessions,
        zero_shot=held_out,
        fractions=arguments.fractions,
        seed=arguments.seed,
        same_person=arguments.same_person,
    )
    write_table(out / SESSIONS_FILE, sessions)
    write_table(out / IMAGES_FILE, read.images)
    splits.write(out / SPLITS_FILE)
    return _info(data_sets, settings, mark, sessions, read.images).model_copy(
        update={"drop_label_defining_fields": arguments.drop_label_defining_fields}
    )


def _write_subsets(study: Study, seed: int) -> None:
    """The paper's evaluation subsets, where the study has one of their cohorts."""
    (study.folder / SUBSETS_FILE).unlink(missing_ok=True)
    subsets = make_subsets(study, seed=seed)
    if subsets.subsets:
        subsets.write(study.folder / SUBSETS_FILE)


def read_sources(downloads: Sequence[Download], encoding: str) -> list[DataSet]:
    """All data sets of the folders, no image opened.

    Raises:
        InputError: one cannot be read at all, or two have the same name.
    """
    data_sets: dict[str, DataSet] = {}
    for download in downloads:
        for data_set in download.read(encoding):
            if data_set.cohort in data_sets:
                problem = f"two data sets are called {data_set.cohort!r}"
                fix = (
                    "give each its own Name in dataset_description.json"
                    if download.kind == BIDS
                    else "name a download once, all its parts in one folder"
                )
                raise InputError(str(download.root), problem, fix, code="same-cohort")
            data_sets[data_set.cohort] = data_set
    return list(data_sets.values())


def image_tasks(data_sets: Sequence[DataSet]) -> list[ImageTask]:
    """All scans to read, in order, by absolute paths: another machine has another folder."""
    roots = [data_set.root.resolve() for data_set in data_sets]
    return [
        ImageTask(scan, root, d.cohort)
        for d, root in zip(data_sets, roots, strict=True)
        for scan in d.scans
    ]


def _read_images(
    data_sets: list[DataSet],
    settings: ImageSettings,
    *,
    workers: int | None,
    progress: bool,
    engine: Engine,
) -> _ImagesRead:
    tasks = image_tasks(data_sets)
    refused = [finding for d in data_sets for finding in d.refused]
    findings = [*(finding for d in data_sets for finding in d.findings), *refused]
    ranked: list[tuple[int, dict[str, str]]] = []
    thumbnails = {}
    results = run_all(
        read_image,
        settings,
        tasks,
        title="Reading scans",
        unit="scan",
        workers=workers,
        progress=progress,
        engine=engine,
    )
    for task, result in zip(tasks, results, strict=True):
        if isinstance(result, ImageResult):
            ranked.append((task.scan.rank, result.row))
            findings.extend(result.findings)
            thumbnails[result.row["cube"]] = result.thumbnail
        else:
            refused.append(result)
            findings.append(result)
    if engine == "ray":
        _check_shared(settings.cache, thumbnails)
    found = sum(d.scans_found for d in data_sets)
    _check_accounting(found, len(ranked), refused)
    images = _image_table(_with_primaries(ranked))
    return _ImagesRead(found, images, findings, thumbnails)


def _check_shared(cache: Path, names: Iterable[str]) -> None:
    """Raise UsageError if another machine wrote cubes where this one does not see them."""
    lost = sum(not (cache / name).is_file() for name in names)
    if lost:
        problem = f"{lost} cube(s) were written on other machines and are not here"
        fix = "choose a folder that all machines of the cluster see"
        raise UsageError(str(cache), problem, fix, code="cache-not-shared")


def _with_primaries(ranked: list[tuple[int, dict[str, str]]]) -> list[dict[str, str]]:
    """Mark the best-ranked usable image of each session."""
    best: dict[tuple[str, ...], int] = {}
    for rank, row in ranked:
        key = tuple(row[name] for name in SESSION_KEY)
        best[key] = min(rank, best.get(key, rank))
    return [
        {**row, "primary": "true" if best[tuple(row[n] for n in SESSION_KEY)] == rank else "false"}
        for rank, row in ranked
    ]


def _check_accounting(found: int, used: int, refused: list[Finding]) -> None:
    """Every scan found is used or has an error finding of its own; anything else is our fault."""
    places = {finding.where for finding in refused if finding.level == "error"}
    if found != used + len(places):
        problem = f"{found} scans found, but {used} used and {len(places)} refused"
        raise RuntimeError(f"scans were lost: {problem}")


def _session_table(data_sets: list[DataSet], images: pd.DataFrame) -> pd.DataFrame:
    """Rows of the sessions that have an image."""
    used = set(images[list(SESSION_KEY)].itertuples(index=False, name=None))
    rows = [row for d in data_sets for row in d.sessions]
    kept = [row for row in rows if tuple(row[name] for name in SESSION_KEY) in used]
    return pd.DataFrame(kept, columns=[column.name for column in SESSION_COLUMNS], dtype=str)


def _image_table(images: list[dict[str, str]]) -> pd.DataFrame:
    return pd.DataFrame(images, columns=[column.name for column in IMAGE_COLUMNS], dtype=str)


def _cubes_exist(study: Study, cache: Path) -> bool:
    return all((cache / name).is_file() for name in study.images["cube"].unique())


def _info(
    data_sets: list[DataSet],
    settings: ImageSettings,
    mark: str,
    sessions: pd.DataFrame,
    images: pd.DataFrame,
) -> StudyInfo:
    found = sum(d.scans_found for d in data_sets)
    parameters = {"version": settings.preprocessing.version, **asdict(settings.preprocessing)}
    return StudyInfo(
        schema_version=SCHEMA_VERSION,
        created_by=f"medblip {medblip.__version__}",
        simulated=is_simulated({d.cohort for d in data_sets})
        or any(says_simulated(d.root) for d in data_sets),
        fingerprint=mark,
        sources=tuple(_source(d) for d in data_sets),
        preprocessing=PreprocessingInfo(
            fingerprint=settings.preprocessing.fingerprint(), parameters=parameters
        ),
        cache=str(settings.cache.resolve()),
        scans_found=found,
        scans_used=len(images),
        scans_skipped=found - len(images),
        counts=count(sessions, images),
    )


def _source(data_set: DataSet) -> Source:
    return Source(
        cohort=data_set.cohort,
        path=str(data_set.root.resolve()),
        tables=data_set.tables,
        records_sha256=data_set.records_sha256,
        scans=data_set.scans_found,
    )
