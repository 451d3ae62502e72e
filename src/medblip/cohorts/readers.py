"""Which reader reads which folder: the kinds of data sets, and their settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from medblip.cohorts.adni import read_adni
from medblip.cohorts.adni_options import AdniOptions
from medblip.cohorts.aibl import read_aibl
from medblip.cohorts.aibl_options import AiblOptions
from medblip.cohorts.bids import read_bids
from medblip.cohorts.dataset import DataSet
from medblip.cohorts.miriad import MiriadOptions, read_miriad
from medblip.cohorts.nacc import read_nacc
from medblip.cohorts.nacc_options import NaccOptions
from medblip.cohorts.oasis import read_oasis
from medblip.cohorts.oasis_options import OasisOptions
from medblip.cohorts.table import read_mapped_table
from medblip.cohorts.table_map import TableMap, read_map
from medblip.errors import UsageError
from medblip.study.tables import nearest

BIDS, TABLE = "bids", "table"

# What reads a kind, and its settings. OASIS-1 and OASIS-2 may lie in one folder.
READERS: Mapping[str, tuple[Callable[..., Any], type[Any]]] = {
    "adni": (read_adni, AdniOptions),
    "aibl": (read_aibl, AiblOptions),
    "miriad": (read_miriad, MiriadOptions),
    "nacc": (read_nacc, NaccOptions),
    "oasis": (read_oasis, OasisOptions),
}
KINDS = (BIDS, *READERS, TABLE)


@dataclass(frozen=True)
class Download:
    """A folder, what it holds, and how to read it.

    Attributes:
        root: the folder.
        kind: one of :data:`KINDS`.
        options: the reader's own settings, e.g. `AdniOptions`; for a table its `TableMap`; None
            for the defaults.
    """

    root: Path
    kind: str = BIDS
    options: Any = None

    def read(self, encoding: str) -> list[DataSet]:
        """All data sets of the folder; no image is opened.

        Raises:
            InputError: it is not what its kind says, or a table cannot be read.
            UsageError: a table without a map.
        """
        if self.kind == BIDS:
            return [read_bids(self.root, encoding=encoding)]
        if self.kind == TABLE:
            if self.options is None:
                fix = "say which column is what, e.g. --map clinic.yaml"
                raise UsageError(str(self.root), "a table needs a map", fix, code="no-map")
            return [read_mapped_table(self.root, mapping=self.options, encoding=encoding)]
        reader, _ = READERS[self.kind]
        found = reader(self.root, encoding=encoding, options=self.options)
        return list(found) if isinstance(found, list) else [found]


def parse_downloads(words: Sequence[str]) -> list[Download]:
    """Folders, each after the kind it is of: ``adni raw/ADNI nacc raw/NACC bids-folder``.

    A folder without a kind is BIDS; one that is called like a kind is written ``./adni``.

    Raises:
        UsageError: a kind without a folder.
    """
    found: list[Download] = []
    kind = ""
    for word in words:
        if word in KINDS and not kind:
            kind = word
        else:
            found.append(Download(Path(word), kind or BIDS))
            kind = ""
    if kind:
        raise UsageError(kind, "no folder follows", f"write {kind} FOLDER", code="no-source")
    return found


def with_map(downloads: Sequence[Download], file: Path | None) -> list[Download]:
    """The same, the tables with the map of ``file``.

    Raises:
        InputError, UsageError: see `read_map`; there is a map and no table.
    """
    if file is None:
        return list(downloads)
    if not any(d.kind == TABLE for d in downloads):
        fix = "write table FOLDER among the sources"
        raise UsageError("--map", "is for a table, and none is given", fix, code="no-source")
    options: TableMap = read_map(file)
    return [replace(d, options=options) if d.kind == TABLE else d for d in downloads]


def with_settings(downloads: Sequence[Download], settings: Sequence[str]) -> list[Download]:
    """The same, with reader settings ``kind.name=value``, the value in YAML.

    Raises:
        UsageError: not of this form, no source of this kind, or no such setting or value.
    """
    values: dict[str, dict[str, Any]] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        kind, _, name = key.partition(".")
        if not equals or kind not in READERS:
            problem = f"expected kind.name=value with one of {', '.join(READERS)}"
            raise UsageError(setting, problem, "e.g. nacc.ad_only=true", code="bad-setting")
        if not any(d.kind == kind for d in downloads):
            fix = f"write {kind} FOLDER among the sources"
            raise UsageError(setting, f"no source of kind {kind}", fix, code="no-source")
        values.setdefault(kind, {})[name] = yaml.safe_load(text)
    made = {kind: _options(kind, given) for kind, given in values.items()}
    return [replace(d, options=made[d.kind]) if d.kind in made else d for d in downloads]


def _options(kind: str, given: Mapping[str, Any]) -> Any:
    options_class = READERS[kind][1]
    known = [field.name for field in fields(options_class)]
    for name in given:
        if name not in known:
            fix = nearest(name, known) or f"the settings are {', '.join(known)}"
            raise UsageError(f"{kind}.{name}", "no such setting", fix, code="unknown-setting")
    try:
        return TypeAdapter(options_class).validate_python(dict(given))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join([kind, *map(str, first["loc"])])
        problem = f"{first['msg']}, found {first['input']!r}"
        raise UsageError(where, problem, code="bad-setting") from None


__all__ = ["BIDS", "KINDS", "READERS", "Download", "parse_downloads", "with_map", "with_settings"]
