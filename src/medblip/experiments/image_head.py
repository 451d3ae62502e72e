"""Table 4's linear heads: a logistic regression on what a trained encoder makes of the image.

The encoder has learnt from image and answer alone (ITC(I, Q&A)). The head is fitted on the mean
of its tokens over training subjects, with the strength of its regularisation cross-validated.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from medblip.evaluation.evaluate import label_array
from medblip.evaluation.simple_models import FeatureTable, field_matrix, fit_simple_models
from medblip.experiments.trials import Trial
from medblip.model import MedBlipForConditionalGeneration
from medblip.study.study import Example
from medblip.training.precision import pick_device, resolve_precision
from medblip.training.run_folder import MODEL_FOLDER
from medblip.training.token_cache import LiveTokens

# The simple models want a record beside; the head never sees it.
UNUSED_FIELD = ("age",)


def head_scores(
    trial: Trial,
    run: Path,
    train: Sequence[Example],
    tested: Sequence[Example],
    cubes: Path,
    *,
    progress: bool,
) -> NDArray[np.float64]:
    """Probability of each label, ``(tested, len(LABELS))``.

    Args:
        trial: its readout says whether the vision encoder's tokens or the queries are read.
        run: finished.
        train, tested: sessions to fit on and to answer.

    Raises:
        InputError: the two share a subject, or training holds one label only.
    """
    device = pick_device()
    model = MedBlipForConditionalGeneration.from_pretrained(run / MODEL_FOLDER)
    model.to(device).eval()  # type: ignore[arg-type]
    images = LiveTokens(model, cubes, resolve_precision(trial.recipe.precision, device))
    names = dict.fromkeys(e.cube for e in (*train, *tested))
    shown = tqdm(names, desc="Reading images for the head", unit="volume", disable=not progress)
    queries = trial.setting.readout == "queries"
    features = {name: _features(images, name, queries) for name in shown}
    tables = [_table(rows, features) for rows in (train, tested)]
    return fit_simple_models(tables[0], tables[1], trial.seed)["image_token"].probabilities


@torch.no_grad()
def _features(images: LiveTokens, cube: str, queries: bool) -> NDArray[np.float32]:
    """Mean over the tokens of one volume: ``(width,)`` of the vision encoder or the MedQFormer."""
    tokens = images.tokens(cube)
    if queries:
        given = torch.from_numpy(tokens)[None].to(images.model.query_tokens.device)
        tokens = images.model.query_image(given)[0].float().cpu().numpy()
    mean: NDArray[np.float32] = tokens.mean(axis=0)
    return mean


def _table(examples: Sequence[Example], features: dict[str, NDArray[np.float32]]) -> FeatureTable:
    return FeatureTable(
        fields=field_matrix(examples, UNUSED_FIELD),
        labels=label_array(examples),
        subjects=[e.participant_id for e in examples],
        tokens=np.stack([features[e.cube] for e in examples]),
    )
