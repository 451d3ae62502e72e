"""Ground-truth rows of a simulated study by its own sessions, in either form that is written.

Demo cohorts have ``ground_truth/<folder>.tsv``, with subjects named within the cohort; replicas
``<COHORT>_states.tsv``, with subjects named in full. Read from disk alone, so nothing here knows
how scans are simulated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from medblip.study.info import SIMULATED_PREFIX
from medblip.study.schema import SESSION_KEY
from medblip.study.study import Study
from medblip.study.tables import read_table

TRUTH_FOLDER = "ground_truth"
STATES = "_states"
BESIDE_STATES = ("_sessions", "_scans", "_traps")  # a replica's other tables
BIDS_PREFIX = "sub-"

Key = tuple[str, str]
Row = Mapping[str, str]


def states_of(study: Study, simulated: Path | None = None) -> Mapping[Key, Row]:
    """Ground-truth rows by `state_key`; none for a study that is not simulated.

    Args:
        study: whose sources lie beside their truth.
        simulated: the folder that holds ``ground_truth``, where it was moved.

    Raises:
        InputError: a table cannot be read, or has a session twice.
    """
    if not study.info.simulated:
        return {}
    # A BIDS data set may have another name than its folder.
    cohorts = {Path(source.path).name: source.cohort for source in study.info.sources}
    beside = [Path(source.path).parent for source in study.info.sources]
    folders = dict.fromkeys([simulated] if simulated else beside)
    files = (file for folder in folders for file in sorted((folder / TRUTH_FOLDER).glob("*.tsv")))
    return {key: row for file in files for key, row in _rows(file, cohorts)}


def state_key(participant_id: str, session_id: str) -> Key:
    """Of a session: a study may put the mark of simulated data before the cohort's name."""
    return participant_id.removeprefix(SIMULATED_PREFIX), session_id


def _rows(file: Path, cohorts: Mapping[str, str]) -> Iterator[tuple[Key, Row]]:
    if file.stem.endswith(BESIDE_STATES):
        return
    demo = not file.stem.endswith(STATES)
    cohort = cohorts.get(file.stem, file.stem)
    table = read_table(file, key=SESSION_KEY)
    for row in table.to_dict("records"):
        values = {str(name): str(value) for name, value in row.items()}
        name = values["participant_id"]
        if demo:
            name = f"{cohort}-{name.removeprefix(BIDS_PREFIX)}"
        yield state_key(name, values["session_id"]), values
