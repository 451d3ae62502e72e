"""The models a reviewer asks for: what do the same inputs give without a language model?

Majority class, and logistic regressions on the record's fields, on coarse voxels, on the frozen
vision encoder's mean token, and on the fields beside either. Everything is fitted on training
subjects only. Imputation, scaling and components see no labels and are fitted once; scaling and
the strength of the regularisation are chosen by cross-validation with each subject in one fold.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from medblip.errors import InputError
from medblip.study.record import DEFAULT_FIELDS, check_field_names, parse_field

NUMBERS = {"": float("nan"), "F": 1.0, "M": 0.0}  # values that are no numbers as they stand
COARSE_SIZE = 28  # voxels along each edge
VOXEL_COMPONENTS = 150
TOKEN_COMPONENTS = 60
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # scikit-learn's C: small is strong
FOLDS = 5

Matrix = NDArray[np.floating[Any]]


class HasFields(Protocol):
    """Anything with a record's raw fields, e.g. a study's ``Example``."""

    @property
    def fields(self) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class FeatureTable:
    """What the simple models see of one set.

    Attributes:
        fields: ``(rows, fields)`` float, NaN where the record says nothing; see ``field_matrix``.
        labels: integer ``(rows,)``.
        subjects: ``(rows,)``.
        voxels: float32 ``(rows, 28^3)``, see ``downsample_cube``; None leaves that model out.
        tokens: float ``(rows, width)``, mean image token of the frozen vision encoder; or None.
    """

    fields: pd.DataFrame
    labels: NDArray[np.int64]
    subjects: Sequence[str] | NDArray[Any]
    voxels: Matrix | None = None
    tokens: Matrix | None = None

    def __post_init__(self) -> None:
        parts = ("fields", "labels", "subjects", "voxels", "tokens")
        rows = {p: len(getattr(self, p)) for p in parts if getattr(self, p) is not None}
        if len(set(rows.values())) != 1 or not rows["labels"]:
            raise InputError(
                "feature table",
                f"found {rows} rows; expected one number above 0",
                "build every part from the same list of examples",
                code="feature-rows",
            )


@dataclass(frozen=True)
class _Design:
    """A model's inputs, ``(rows, features)`` for training and for test."""

    title: str
    sees: str
    train: Matrix
    test: Matrix

    def beside(self, other: _Design) -> _Design:
        return _Design(
            f"{self.title} + {other.title}",
            f"{self.sees}; {other.sees}",
            np.hstack([self.train, other.train]),
            np.hstack([self.test, other.test]),
        )


@dataclass(frozen=True)
class SimpleResult:
    """One simple model's answers on the test set.

    Attributes:
        title: short name for tables and figures.
        description: what it sees and how it was fitted.
        probabilities: float64 ``(test rows, classes)``, rows sum to one.
    """

    title: str
    description: str
    probabilities: NDArray[np.float64]


def fit_simple_models(
    train: FeatureTable,
    test: FeatureTable,
    seed: int = 0,
    *,
    n_classes: int = 3,
    only: Collection[str] | None = None,
) -> dict[str, SimpleResult]:
    """Fit every simple model whose inputs both sets have, and answer the test set.

    Keys: ``majority``, ``fields``, ``voxels``, ``fields_and_voxels``, ``image_token``,
    ``fields_and_image_token``.

    Args:
        only: keys to fit; the answers of one do not depend on which others are. None for all.

    Raises:
        InputError: the sets share a subject or hold other fields, the training set holds one
            class only, or a label is not below ``n_classes``.
    """
    _check(train, test, n_classes)
    designs = _designs(train, test, seed)
    wanted = {"majority", *designs} if only is None else set(only)
    results = {"majority": _majority(train, test, n_classes)} if "majority" in wanted else {}
    for key, design in designs.items():
        if key not in wanted:
            continue
        model = _fit(design.train, train.labels, train.subjects, seed)
        results[key] = SimpleResult(
            f"Logistic regression: {design.title}",
            f"{design.sees}; {_chosen(model)}",
            _probabilities(model, design.test, n_classes),
        )
    return results


def field_matrix(
    examples: Iterable[HasFields], names: Sequence[str] = DEFAULT_FIELDS
) -> pd.DataFrame:
    """The record's fields as numbers: ``(examples, names)`` float64.

    Sex becomes 1 (F) or 0 (M); an absent field is NaN. Pass the names that ``record_text`` uses,
    so that the simple models know what the language model is told, and no more.

    Raises:
        UsageError: ``names`` holds a name that is not a field.
        InputError: a value is of another kind or out of range.
    """
    check_field_names(names)
    rows = [
        [_as_number(name, example.fields.get(name, ""), f"example {row}") for name in names]
        for row, example in enumerate(examples)
    ]
    return pd.DataFrame(np.asarray(rows, dtype=float).reshape(-1, len(names)), columns=list(names))


def downsample_cube(cube: NDArray[Any], size: int = COARSE_SIZE) -> NDArray[np.float32]:
    """Mean intensity over ``size``^3 equal boxes: ``(D, H, W)`` -> float32 ``(size, size, size)``.

    Where a box's edge cuts a voxel, the voxel counts by the part inside.
    """
    coarse = np.asarray(cube, dtype=np.float32)
    for axis in range(3):
        coarse = np.moveaxis(
            _box_means(coarse.shape[axis], size) @ np.moveaxis(coarse, axis, -2), -2, axis
        )
    return np.ascontiguousarray(coarse)


def _box_means(n: int, size: int) -> NDArray[np.float32]:
    """``(size, n)``: share of each of ``n`` voxels in each of ``size`` equal boxes along a line."""
    edges = np.linspace(0, n, size + 1)[:, None]
    voxels = np.arange(n)[None]
    overlap = np.minimum(edges[1:], voxels + 1) - np.maximum(edges[:-1], voxels)
    return (overlap.clip(min=0) * size / n).astype(np.float32)


def _designs(train: FeatureTable, test: FeatureTable, seed: int) -> dict[str, _Design]:
    imputed = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
    )
    fields = _Design(
        "fields",
        f"{', '.join(train.fields.columns)} (median where missing, and that it is missing)",
        imputed.fit_transform(train.fields),
        imputed.transform(test.fields),
    )
    designs = {"fields": fields}
    if train.voxels is not None and test.voxels is not None:
        voxels = _components(train.voxels, test.voxels, VOXEL_COMPONENTS, seed)
        sees = f"{train.voxels.shape[1]:,} coarse voxels"
        designs["voxels"] = _Design("voxels", sees, *voxels)
        designs["fields_and_voxels"] = fields.beside(designs["voxels"])
    if train.tokens is not None and test.tokens is not None:
        tokens = _components(train.tokens, test.tokens, TOKEN_COMPONENTS, seed)
        sees = "mean image token of the frozen vision encoder"
        designs["image_token"] = _Design("image token", sees, *tokens)
        designs["fields_and_image_token"] = fields.beside(designs["image_token"])
    return designs


def _components(train: Matrix, test: Matrix, n: int, seed: int) -> tuple[Matrix, Matrix]:
    """Principal component scores, scaled together so that the first has unit variance."""
    pca = PCA(min(n, len(train) - 1, train.shape[1]), svd_solver="randomized", random_state=seed)
    scores = pca.fit_transform(np.asarray(train, dtype=np.float32))
    scale = max(float(np.sqrt(pca.explained_variance_[0])), np.finfo(np.float32).tiny)
    return scores / scale, pca.transform(np.asarray(test, dtype=np.float32)) / scale


def _fit(inputs: Matrix, labels: NDArray[np.int64], subjects: Any, seed: int) -> Pipeline:
    model = Pipeline([("scale", "passthrough"), ("logistic", LogisticRegression(max_iter=2000))])
    groups = np.asarray(subjects)
    folds = min(FOLDS, *(len(np.unique(groups[labels == c])) for c in np.unique(labels)))
    if folds < 2:  # a class with one subject cannot be in both parts
        return model.fit(inputs, labels)
    splits = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    grid = {"scale": ["passthrough", StandardScaler()], "logistic__C": STRENGTHS}
    search = GridSearchCV(model, grid, cv=splits, scoring=_mean_log_probability)
    return search.fit(inputs, labels, groups=groups).best_estimator_


def _mean_log_probability(model: Pipeline, inputs: Matrix, labels: NDArray[np.int64]) -> float:
    # scikit-learn's own log loss fails where a small fold lacks a class.
    probabilities = _probabilities(model, inputs, int(max(labels.max(), *model.classes_)) + 1)
    of_truth = probabilities[np.arange(len(labels)), labels]
    return float(np.log(of_truth.clip(min=1e-12)).mean())


def _probabilities(model: Any, inputs: Matrix, n_classes: int) -> NDArray[np.float64]:
    """``(rows, n_classes)``; a class that training never saw gets probability 0."""
    answers = np.zeros((len(inputs), n_classes))
    answers[:, model.classes_] = model.predict_proba(inputs)
    return answers


def _majority(train: FeatureTable, test: FeatureTable, n_classes: int) -> SimpleResult:
    prior = DummyClassifier(strategy="prior").fit(train.fields, train.labels)
    return SimpleResult(
        "Majority class",
        "sees nothing; answers with the class shares of the training set",
        _probabilities(prior, test.fields.to_numpy(), n_classes),
    )


def _chosen(model: Pipeline) -> str:
    """How the model was fitted, in words."""
    scaled = "as they are" if model["scale"] == "passthrough" else "scaled to unit variance"
    width, strength = model["logistic"].n_features_in_, model["logistic"].C
    return f"{width} features {scaled}, C = {strength:g}"


def _as_number(name: str, text: str, where: str) -> float:
    value = parse_field(name, text, where)
    return NUMBERS[value] if value in NUMBERS else float(value)


def _check(train: FeatureTable, test: FeatureTable, n_classes: int) -> None:
    shared = len(set(train.subjects) & set(test.subjects))
    labels = np.concatenate([train.labels, test.labels])
    if shared:
        problem, code = f"{shared} subjects are in both sets; expected none", "subject-in-two-sets"
    elif list(train.fields.columns) != list(test.fields.columns):
        problem, code = "the two sets have other fields; expected the same", "field-names"
    elif labels.min() < 0 or labels.max() >= n_classes:
        problem, code = f"found a label outside 0 to {n_classes - 1}", "label-range"
    elif len(np.unique(train.labels)) < 2:
        problem, code = "the training set holds one class; expected two or more", "one-class"
    else:
        return
    raise InputError("simple models", problem, "check the study's splits.json", code=code)
