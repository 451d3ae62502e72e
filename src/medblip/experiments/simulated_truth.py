"""The latent values behind simulated sessions, where a study's sources still lie beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from medblip.simulate.dataset import TRUTH_FOLDER
from medblip.study.info import SIMULATED_PREFIX, Source
from medblip.study.study import Study

Key = tuple[str, str]
BIDS_PREFIX = "sub-"


def states_of(study: Study) -> Mapping[Key, Mapping[str, str]]:
    """Ground-truth rows by `state_key`; none for a study that is not simulated."""
    if not study.info.simulated:
        return {}
    return {key: row for source in study.info.sources for key, row in _rows(source)}


def state_key(participant_id: str, session_id: str) -> Key:
    """Of a session: a study puts the mark of simulated data before the cohort's name."""
    return participant_id.removeprefix(SIMULATED_PREFIX), session_id


def _rows(source: Source) -> Iterator[tuple[Key, dict[str, str]]]:
    """Of a data set: demo cohorts name a subject within the cohort, replicas in full."""
    root, cohort = Path(source.path), source.cohort.removeprefix(SIMULATED_PREFIX)
    truth = root.parent / TRUTH_FOLDER
    for file in (truth / f"{root.name}.tsv", truth / f"{cohort}_states.tsv"):
        if not file.is_file():
            continue
        for row in pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False).to_dict("records"):
            values = {str(name): str(value) for name, value in row.items()}
            name = values["participant_id"]
            if name.startswith(BIDS_PREFIX):
                name = f"{cohort}-{name.removeprefix(BIDS_PREFIX)}"
            yield state_key(name, values["session_id"]), values
