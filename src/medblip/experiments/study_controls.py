"""The simple models of a study, fitted once and set beside every table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from medblip.errors import InputError
from medblip.evaluation.evaluate import label_array
from medblip.evaluation.region_model import region_matrix
from medblip.evaluation.simple_models import (
    FeatureTable,
    SimpleResult,
    downsample_cube,
    field_matrix,
)
from medblip.experiments.columns import ColumnSet, columns_of, everyone, rows_among
from medblip.experiments.records import RunRecord
from medblip.experiments.simple_controls import control_record, fit_controls
from medblip.recipe import RecordSection
from medblip.study.labels import LABELS
from medblip.study.record import FIELDS
from medblip.study.study import Example, Study, example_of
from medblip.volumes import map_cube_array
from medblip.vqa.truth_tables import Key, Row, state_key, states_of

VERSION = 1  # raised where the answers of a simple model change, so that kept ones are made again


def study_controls(
    study: Study, columns: Sequence[ColumnSet], cubes: Path, table: int, record: RecordSection
) -> list[RunRecord]:
    """Answers of every simple control to every column, as records of ``table``.

    Args:
        record: what the model that they stand beside is shown of a record.

    Raises:
        InputError: training holds one label only, or a cube is damaged.
    """
    tested = everyone(columns)
    results, test = fitted_controls(study, tested, cubes, record)
    records = []
    for column, rows in zip(columns, rows_among(tested, columns), strict=True):
        for key, result in results.items():
            asked = _among(result, column.labels)
            records.append(control_record(key, asked, test, table, column.name, rows))
    return records


def fitted_controls(
    study: Study, tested: Sequence[Example], cubes: Path, record: RecordSection
) -> tuple[dict[str, SimpleResult], FeatureTable]:
    """Every simple control fitted on the training subjects, with its answers to ``tested``.

    Args:
        record: see `study_controls`.

    Returns:
        By key; and the features of ``tested``.

    Raises:
        InputError: training holds one label only, or a cube is damaged.
    """
    train = study.examples("train")
    fields = _fields(train)
    tables = [_features(rows, fields, cubes) for rows in (train, tested)]
    regions = _regions(states_of(study), train, tested, tables)
    shown = _shown(study, record, train, tested, tables)
    return fit_controls(tables[0], tables[1], regions, shown), tables[1]


def control_inputs(study: Study, record: RecordSection) -> list[str]:
    """What the simple controls are fitted on besides voxels: fields, and the truth of a study.

    Once there is more, as a truth that was moved back, there are more controls; and those that see
    what the model is shown are others under a recipe that shows other fields.

    Args:
        record: see `study_controls`.

    Raises:
        InputError: nobody is tested on.
    """
    train, tested = study.examples("train"), everyone(columns_of(study))
    states = states_of(study)
    known = all(_known_regions(states, rows) is not None for rows in (train, tested))
    truth = ["true regional change"] if known else []
    shown = [f"shown: {name}" for name in FIELDS if name in record.fields]
    dropped = ["shown without label-defining ones"] if record.drop_label_defining_fields else []
    return [*_fields(train), *truth, *shown, *dropped]


def _fields(train: Sequence[Example]) -> list[str]:
    return [name for name in FIELDS if any(name in e.fields for e in train)]


def _features(examples: Sequence[Example], fields: Sequence[str], cubes: Path) -> FeatureTable:
    voxels = [downsample_cube(map_cube_array(cubes / e.cube)).ravel() for e in examples]
    return FeatureTable(
        fields=field_matrix(examples, fields),
        labels=label_array(examples),
        subjects=[e.participant_id for e in examples],
        voxels=np.stack(voxels),
    )


def _among(result: SimpleResult, labels: Sequence[str]) -> SimpleResult:
    """Answers over some labels only, as the model's are."""
    others = [i for i, label in enumerate(LABELS) if label not in labels]
    probabilities = result.probabilities.copy()
    probabilities[:, others] = -1.0
    return replace(result, probabilities=probabilities)


def _shown(
    study: Study,
    record: RecordSection,
    train: Sequence[Example],
    tested: Sequence[Example],
    tables: Sequence[FeatureTable],
) -> tuple[FeatureTable, FeatureTable] | None:
    """The fields that the model is shown, beside the voxels; None where it is shown none."""
    told = study.dropping_label_defining_fields(record.drop_label_defining_fields)
    rows = map(example_of, told.labelled_images(primary_only=False).to_dict("records"))
    fields = {(e.participant_id, e.session_id): e.fields for e in rows}
    parts = [
        [replace(e, fields=fields[e.participant_id, e.session_id]) for e in examples]
        for examples in (train, tested)
    ]
    names = [name for name in _fields(parts[0]) if name in record.fields]
    if not names:
        return None
    learnt, asked = (
        replace(table, fields=field_matrix(part, names))
        for table, part in zip(tables, parts, strict=True)
    )
    return learnt, asked


def _regions(
    states: Mapping[Key, Row],
    train: Sequence[Example],
    tested: Sequence[Example],
    tables: Sequence[FeatureTable],
) -> tuple[FeatureTable, FeatureTable] | None:
    """The true change of regions in the place of fields, where the study's truth is at hand."""
    parts = []
    for examples, table in zip((train, tested), tables, strict=True):
        regions = _known_regions(states, examples)
        if regions is None:
            return None
        parts.append(replace(table, fields=regions, voxels=None))
    return parts[0], parts[1]


def _known_regions(states: Mapping[Key, Row], examples: Sequence[Example]) -> pd.DataFrame | None:
    """See `region_matrix`; None where somebody's truth is missing or of another kind."""
    rows = [states.get(state_key(e.participant_id, e.session_id)) for e in examples]
    known = [row for row in rows if row is not None]
    if len(known) < len(rows):
        return None
    try:
        return region_matrix(known)
    except InputError:
        return None
