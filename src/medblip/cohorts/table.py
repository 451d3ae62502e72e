"""Read a data set of one's own: any table with a column of paths, and a map of its columns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from medblip.cohorts.bids_files import table_inside
from medblip.cohorts.collecting import Collector, Image
from medblip.cohorts.dataset import DataSet
from medblip.cohorts.download_files import list_archive, list_files
from medblip.cohorts.foreign import refuse_absent
from medblip.cohorts.table_map import TableMap, parse_map, parse_values, read_map
from medblip.cohorts.table_rows import check_columns, key_of, session_row
from medblip.cohorts.vendor_tables import (
    TABLE_SUFFIXES,
    VendorRow,
    VendorTable,
    read_vendor_table,
)
from medblip.errors import InputError, UsageError
from medblip.study.schema import IMAGE_COLUMNS
from medblip.volumes.file_names import SCAN_EXTENSIONS, extension, partner_names
from medblip.volumes.locating import find_place

__all__ = ["TableMap", "parse_map", "parse_values", "read_map", "read_mapped_table"]

_IMAGE_COLUMNS = {column.name: column for column in IMAGE_COLUMNS}
_FORMATS = {".hdr": "analyze", ".img": "analyze", ".mgh": "mgh", ".mgz": "mgh", ".dcm": "dicom"}


def read_mapped_table(root: Path, *, mapping: TableMap, encoding: str = "utf-8-sig") -> DataSet:
    """Read a table with one row a scan; no image is opened.

    Rows of one subject and session are runs of it, in the order of the table unless ``run`` is
    mapped; the first is the primary one. A path is relative to ``root``: a NIfTI, Analyze or MGH
    file, a folder of DICOM slices, or either inside a zip or tar archive.

    Args:
        root: folder with the table and the scans.
        mapping: which column is what.
        encoding: of the table.

    Raises:
        InputError: no such folder or table, a mapped column is missing, or a diagnosis or sex
            holds a text that stands for nothing (``unknown-value``, with all that exist).
        UsageError: several tables and the map does not say which.
    """
    collector = Collector(root, mapping.cohort, facts=[asdict(mapping)])
    files = list_files(root, collector.findings)
    path = _find_table(root, mapping, files.loose, encoding)
    table = read_vendor_table(
        path,
        root,
        required=list(dict.fromkeys(mapping.columns.values())),
        encoding=encoding,
        findings=collector.findings,
    )
    collector.read_from(path)
    check_columns(table, mapping)
    reader = _Reader(collector, mapping)
    reader.add_rows(table)
    reader.note_unlisted(files.loose)
    return collector.finish()


@dataclass
class _Reader:
    collector: Collector
    mapping: TableMap
    named: set[str] = field(default_factory=set)
    members: dict[str, set[str]] = field(default_factory=dict)

    def add_rows(self, table: VendorTable) -> None:
        sessions: dict[tuple[str, str], list[tuple[VendorRow, Image]]] = {}
        for row in self._rows_by_path(table):
            path = row[self.mapping.columns["path"]]
            try:
                image = self._image(row, path, len(self.named))
                key = key_of(row, self.mapping)
            except InputError as error:
                self.collector.refuse([path], error)
                continue
            sessions.setdefault(key, []).append((row, image))
        for scans in sessions.values():
            self._add_session(scans)
        if "days_from_baseline" not in self.mapping.columns:
            self.collector.count_days()

    def note_unlisted(self, loose: Iterable[str]) -> None:
        """Files that look like scans and that no row names."""
        paths = [path for path in loose if extension(path) in SCAN_EXTENSIONS]
        rest = [path for path in paths if not self._is_named(path)]
        if rest:
            problem = f"{len(rest)} scan(s) of the folder are in no row, e.g. {rest[0]}"
            self.collector.note("unlisted-scan", "note", rest[0], problem)

    def _rows_by_path(self, table: VendorTable) -> list[VendorRow]:
        """One row a path; rows that contradict each other leave their scan out."""
        column = self.mapping.columns["path"]
        for row in table.rows():
            if not row[column]:
                problem, fix = f"{column} is empty", "name its scan, or leave it so"
                self.collector.note("row-without-scan", "warning", row.where, problem, fix)
        rows = table.keyed([column], self.collector.findings)
        for path in table.frame[column].unique():
            if path and (path,) not in rows:
                problem = "the rows that name it differ, and none of them is used"
                error = InputError(path, problem, "keep the right row", code="scan-without-row")
                self.collector.refuse([path], error)
        return [row for (path,), row in rows.items() if path]

    def _image(self, row: VendorRow, path: str, order: int) -> Image:
        """The scan of a row, which must exist.

        Raises:
            InputError: ``unsafe-path``, ``missing-file``, ``outside-root``,
                ``unsupported-format``, or a bad run or kind.
        """
        where = row.cell(self.mapping.columns["path"]).where
        if path.startswith("/") or "\\" in path or ":" in path or ".." in path.split("/"):
            problem = f"the path is {path!r}, expected one inside the folder"
            fix = "write it relative to the folder, with '/' and without '..'"
            raise InputError(where, problem, fix, code="unsafe-path")
        form = self._format(path, where)
        self.named.add(path)
        texts = {name: row[self.mapping.columns[name]] for name in self._image_fields()}
        run = _IMAGE_COLUMNS["run"].parse(texts.get("run") or str(order + 1), where)
        kind = _IMAGE_COLUMNS["kind"].parse(texts.get("kind") or "raw", where)
        return Image(path, int(run), kind, form, self.mapping.assume_orientation)

    def _image_fields(self) -> list[str]:
        return [name for name in ("run", "kind") if name in self.mapping.columns]

    def _format(self, path: str, where: str) -> str:
        root = self.collector.root
        try:
            place = find_place(root / path, root)
        except InputError as error:
            raise InputError(where, error.problem, error.fix, code=error.code) from None
        end = extension(path)
        if place.kind == "folder":
            return "dicom"
        if place.kind == "archive" and place.member:
            archive = place.path.relative_to(root).as_posix()
            if archive not in self.members:
                self.members[archive] = set(list_archive(root, archive))
            if path not in self.members[archive]:
                if any(name.startswith(f"{path}/") for name in self.members[archive]):
                    return "dicom"
                problem = f"{archive} holds no {place.member}"
                raise InputError(where, problem, "correct the path", code="missing-file")
        if end in (".nii", ".nii.gz"):
            return "nifti"
        if end.removesuffix(".gz") in _FORMATS:
            return _FORMATS[end.removesuffix(".gz")]
        problem = f"{path!r} ends like no scan"
        fix = f"name a file with one of {', '.join(SCAN_EXTENSIONS)}, or a folder of slices"
        raise InputError(where, problem, fix, code="unsupported-format")

    def _add_session(self, scans: list[tuple[VendorRow, Image]]) -> None:
        try:
            rows = [row for row, _ in scans]
            values = session_row(rows, self.mapping, self.collector.findings)
        except InputError as error:
            self.collector.refuse((image.path for _, image in scans), error)
            return
        images = [image for _, image in scans]
        if "run" in self.mapping.columns:
            images.sort(key=lambda image: image.run)
        else:
            images = [image._replace(run=n) for n, image in enumerate(images, start=1)]
        self.collector.add(values, images)

    def _is_named(self, path: str) -> bool:
        folder, slash, name = path.rpartition("/")
        names = [path, *(f"{folder}{slash}{partner}" for partner in partner_names(name))]
        return any(name in self.named for name in names)


def _find_table(root: Path, mapping: TableMap, loose: Iterable[str], encoding: str) -> Path:
    tables = [path for path in loose if path.lower().endswith(TABLE_SUFFIXES)]
    if mapping.table:
        if mapping.table in tables:
            return table_inside(root / mapping.table, root) or root
        wanted = f"table {mapping.table}"
        refuse_absent(root, wanted, [root / path for path in tables], (), encoding)
    if not tables:
        refuse_absent(root, "table (.csv, .tsv or .xlsx)", (), (), encoding)
    if len(tables) > 1:
        problem = f"there are {len(tables)} tables: {', '.join(tables[:5])}"
        raise UsageError("table", problem, "say which one, e.g. --table NAME", code="which-table")
    return table_inside(root / tables[0], root) or root
