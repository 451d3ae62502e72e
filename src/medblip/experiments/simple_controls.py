"""The controls that need no language model, with and without the fields that make the label.

Of what is set beside a model, `CONTROL_TITLES` names all: those of its first part are the model
itself with an input withheld or exchanged (`medblip.evaluation.controls`, `.pairing`), those of its
second part are fitted here, those of its third part stand beside answers to questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from medblip.evaluation.intervals import bad_predictions
from medblip.evaluation.region_model import fit_region_model
from medblip.evaluation.simple_models import FeatureTable, SimpleResult, fit_simple_models
from medblip.experiments.records import RunRecord
from medblip.study.record import FIELDS

# What a diagnosis is made from: CDR and MMSE in most cohorts, and logical memory in ADNI.
LABEL_DEFINING = ("mmse", "cdr_global", "cdr_sb", "lm_immediate", "lm_delayed")
PLAIN_FIELDS = tuple(name for name in FIELDS if name not in LABEL_DEFINING)

MODEL_CONTROLS = {
    "control.record": "Record only",
    "control.image": "Image only",
    "control.other_image": "Another subject's image",
    "control.other_image_same_label": "Another subject's image, same label (uses the label)",
    "control.other_image_other_label": "Another subject's image, another label (uses the label)",
    "control.blank_image": "Blank image, announced",
}
SIMPLE_CONTROLS = {
    "control.majority": "Majority class",
    "control.fields": "Logistic regression: all record fields",
    "control.plain_fields": "Logistic regression: record fields without label-defining ones",
    "control.voxels": "Logistic regression: coarse voxels",
    "control.shown_fields": "Logistic regression: record fields that the model is shown",
    "control.shown_fields_and_voxels": (
        "Logistic regression: record fields that the model is shown, and coarse voxels"
    ),
    "control.regions": "Logistic regression: true regional change (simulated data; uses the truth)",
}
# Of Table 3, beside those of the model that it has in common with the others.
QUESTION_CONTROLS = {
    "control.no_image": "No image",
    "control.wording": "Commonest answer to the wording",
    "control.words": "Logistic regression: words of the question",
}
# They are told what nobody knows of a new scan: its label, or what the simulator did to it. So they
# are shown, but are never the best control, which a model is measured against.
ORACLES = frozenset(
    {"control.other_image_same_label", "control.other_image_other_label", "control.regions"}
)
CONTROL_TITLES = MODEL_CONTROLS | SIMPLE_CONTROLS | QUESTION_CONTROLS


def fit_controls(
    train: FeatureTable,
    test: FeatureTable,
    regions: tuple[FeatureTable, FeatureTable] | None = None,
    shown: tuple[FeatureTable, FeatureTable] | None = None,
    *,
    seed: int = 0,
    n_classes: int = 3,
) -> dict[str, SimpleResult]:
    """Every control of `SIMPLE_CONTROLS` whose inputs are there, fitted on training subjects.

    Args:
        train, test: with all fields that the study has, label-defining ones too; ``voxels`` may be
            None.
        regions: training and test set as `medblip.evaluation.region_model` wants them.
        shown: training and test set with the fields that the model is shown, and no more.
        seed: of folds and components.

    Raises:
        InputError: see `fit_simple_models`.
    """
    alone = ("majority", "fields", "voxels")
    found = fit_simple_models(train, test, seed, n_classes=n_classes, only=alone)
    results = {f"control.{key}": result for key, result in found.items()}
    plain = [name for name in train.fields.columns if name in PLAIN_FIELDS]
    if plain:
        fitted = fit_simple_models(
            _only(train, plain), _only(test, plain), seed, n_classes=n_classes
        )
        results["control.plain_fields"] = fitted["fields"]
    if shown is not None:
        told = ("fields", "fields_and_voxels")
        found = fit_simple_models(*shown, seed, n_classes=n_classes, only=told)
        results |= {f"control.shown_{key}": result for key, result in found.items()}
    if regions is not None:
        results["control.regions"] = fit_region_model(*regions, seed, n_classes=n_classes)
    return {
        key: replace(results[key], title=title)
        for key, title in SIMPLE_CONTROLS.items()
        if key in results
    }


def control_record(
    key: str,
    result: SimpleResult,
    test: FeatureTable,
    table: int,
    column: str,
    rows: Sequence[int] | None = None,
) -> RunRecord:
    """A control's answers to one test set, as a run of one seed: fitting it again gives the same.

    Args:
        key: of `CONTROL_TITLES`.
        result: answers to all of ``test``.
        table, column: where it stands.
        rows: of ``test`` that the column is made of, in its order; None for all.

    Raises:
        InputError: there is no such control, or answers to other rows than those of ``test``.
    """
    if key not in CONTROL_TITLES:
        raise bad_predictions(f"found control {key!r}; expected one of {', '.join(CONTROL_TITLES)}")
    if len(result.probabilities) != len(test.labels):
        raise bad_predictions(
            f"found {len(result.probabilities)} answers to {len(test.labels)} rows; "
            "expected one a row"
        )
    right = result.probabilities.argmax(axis=1) == test.labels
    chosen = range(len(test.labels)) if rows is None else rows
    return RunRecord(
        table,
        key,
        column,
        0,
        "control",
        tuple(str(test.subjects[row]) for row in chosen),
        tuple(bool(right[row]) for row in chosen),
    )


def _only(table: FeatureTable, fields: Sequence[str]) -> FeatureTable:
    return replace(table, fields=table.fields[list(fields)], voxels=None, tokens=None)
