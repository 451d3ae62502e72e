"""SIM-L: two visits whose change is known, free of what the later scan shows, and in the truth."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from medblip.cohorts.prepare import prepare
from medblip.cohorts.readers import parse_downloads
from medblip.simulate import demo_cohorts, progression_cohort, simulate
from medblip.simulate.cohort import Subject, draw_cohort
from medblip.simulate.dataset import ground_truth
from medblip.simulate.progression import GAIN_MM, GAIN_SHARES, YEARS
from medblip.simulate.scanner import MM_PER_SEVERITY, atrophy_mm, session_mm
from medblip.volumes import Preprocessing
from medblip.vqa.progression import read_pairs

ASKED = ("ventricles", "medial_temporal")
SUBJECTS = draw_cohort(progression_cohort(3000), 0)


def levels(visit: int, region: str) -> np.ndarray:
    return np.array([session_mm(subject.sessions[visit])[region] for subject in SUBJECTS])


def gains(region: str) -> np.ndarray:
    return np.array([subject.sessions[1].gained_mm[region] for subject in SUBJECTS])


def test_the_same_arguments_give_the_same_people() -> None:
    assert draw_cohort(progression_cohort(5), 0) == SUBJECTS[:5]
    assert draw_cohort(progression_cohort(5), 1) != SUBJECTS[:5]


def test_each_subject_comes_twice_in_order() -> None:
    for subject in SUBJECTS[:200]:
        earlier, later = subject.sessions
        assert (earlier.session_id, later.session_id) == ("ses-01", "ses-02")
        assert later.prior_session_id == "ses-01" and not earlier.prior_session_id
        years = (later.scan_date - earlier.scan_date).days / 365.25
        assert YEARS[0] - 0.01 <= years <= YEARS[1] + 0.01
        assert later.age - earlier.age == pytest.approx(years, abs=0.11)
        assert earlier.diagnosis == later.diagnosis


@pytest.mark.parametrize("region", MM_PER_SEVERITY)
def test_what_is_gained_is_the_difference_of_the_visits(region: str) -> None:
    assert np.allclose(levels(1, region) - levels(0, region), gains(region))


@pytest.mark.parametrize("region", ASKED)
def test_change_goes_from_none_to_much_whatever_the_later_scan_shows(region: str) -> None:
    gained = gains(region)
    grades = np.searchsorted([low for low, _ in GAIN_MM[1:]], gained, side="right")
    shares = np.bincount(grades, minlength=3) / len(gained)
    assert shares == pytest.approx(GAIN_SHARES, abs=0.04)
    assert gained.max() <= GAIN_MM[-1][1]
    for other in MM_PER_SEVERITY:
        assert abs(np.corrcoef(levels(1, other), gained)[0, 1]) < 0.06
        if other != region:
            assert abs(np.corrcoef(gains(other), gained)[0, 1]) < 0.06
            # Else the earlier scan would tell by one region how large the other has to be. Age,
            # which both share, is a tenth of it.
            assert abs(np.corrcoef(levels(1, other), levels(1, region))[0, 1]) < 0.2


def test_the_diagnosis_goes_with_the_medial_temporal_lobes() -> None:
    by_class: dict[str, list[float]] = {"CN": [], "MCI": [], "AD": []}
    for subject in SUBJECTS:
        by_class[subject.sessions[1].diagnosis].append(
            session_mm(subject.sessions[1])["medial_temporal"]
        )
    means = [float(np.mean(listed)) for listed in by_class.values()]
    assert means[0] + 2 < means[1] < means[2] - 2
    assert len({len(listed) for listed in by_class.values()}) == 1


def test_other_cohorts_are_what_they_were() -> None:
    for plan in demo_cohorts(30, 6):
        assert list(asdict(plan)) == ["name", "label_prefix", "subjects", "sites"]
        for subject in draw_cohort(plan, 0):
            for session in subject.sessions:
                assert session_mm(session) == atrophy_mm(session)
                assert not session.own_mm and not session.prior_session_id


@pytest.fixture(scope="module")
def simulated(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulated")
    simulate(
        out,
        (*demo_cohorts(1, 1), progression_cohort(3)),
        template=world / "template",
        cache=world / "anatomy",
        workers=1,
        progress=False,
    )
    return out


def test_the_truth_tells_the_change(simulated: Path) -> None:
    rows = ground_truth(simulated, "SIM-L")
    assert len(rows) == 6
    people: list[Subject] = list(SUBJECTS[:3])
    for at, subject in enumerate(people):
        earlier, later = rows[2 * at : 2 * at + 2]
        assert not earlier["prior_session_id"] and not earlier["ventricles_gained_mm"]
        assert later["prior_session_id"] == earlier["session_id"] == "ses-01"
        for region in MM_PER_SEVERITY:
            mean, largest = (
                float(later[f"{region}_{what}_mm"]) - float(earlier[f"{region}_{what}_mm"])
                for what in ("mean", "max")
            )
            assert float(later[f"{region}_gained_mm"]) == pytest.approx(mean, abs=2e-3)
            assert largest == pytest.approx(subject.sessions[1].gained_mm[region], abs=2e-3)
    assert "prior_session_id" not in ground_truth(simulated, "SIM-A")[0]
    plans = json.loads((simulated / "simulation.json").read_text("utf-8"))["cohorts"]
    assert [list(plan)[-1] for plan in plans] == ["sites", "sites", "visits"]


def test_a_study_of_it_has_the_pairs(simulated: Path, tmp_path: Path) -> None:
    made = prepare(
        parse_downloads([str(simulated / "SIM-L")]),
        tmp_path / "study",
        preprocessing=Preprocessing(size=32),
        cache=tmp_path / "cubes",
        workers=1,
        progress=False,
    )
    pairs = read_pairs(made.study)
    assert [p.current.participant_id for p in pairs] == [f"SIM-L-SIML000{n}" for n in (1, 2, 3)]
    assert {(p.prior.session_id, p.current.session_id) for p in pairs} == {("ses-01", "ses-02")}
    rows = ground_truth(simulated, "SIM-L")[1::2]
    for pair, row in zip(pairs, rows, strict=True):
        for region in ASKED:
            assert pair.gained_mm[region] == float(row[f"{region}_gained_mm"])
            assert pair.lost_mm[region] == float(row[f"{region}_mean_mm"])
