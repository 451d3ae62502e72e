"""Several processes in one experiment's folder: they share the trials, and none loses a number."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tiny_experiment import make_study

from medblip.errors import UsageError
from medblip.experiments import experiment as experiment_module
from medblip.experiments import kept as kept_module
from medblip.experiments import runner as runner_module
from medblip.experiments.elapsed import on_the_clock
from medblip.experiments.experiment import Plan, experiment
from medblip.experiments.hours import HOURS_FILE, Hours, word
from medblip.experiments.kept import RECORDS_FILE, Kept
from medblip.experiments.records import RunRecord
from medblip.experiments.runner import Runner
from medblip.experiments.scoring import Caches
from medblip.experiments.sharing import claimed
from medblip.experiments.trials import Setting, Trial
from medblip.storage import write_json
from medblip.study.study import Study
from medblip.training.entering import alone

FORK = multiprocessing.get_context("fork")
LIMIT_S = 60.0


def trials(count: int = 3) -> list[Trial]:
    setting = Setting("embedded", readout="record", minutes=1.0)
    return [Trial(2, "smollm2.lora", setting, seed) for seed in range(count)]


class Place:
    """An experiment's folder, whose trainings do what a test wants."""

    def __init__(self, root: Path, study: Study) -> None:
        self.study, self.out, self.log = study, root / "out", root / "log"
        self.said: list[str] = []
        self.log.touch()

    @property
    def trained(self) -> list[tuple[int, int]]:
        """Process and seed of every training that began."""
        rows = (line.split() for line in self.log.read_text("utf-8").splitlines())
        return [(int(process), int(seed)) for process, seed in rows]

    def run(self, asked: list[Trial], during: Callable[[int], Any] = lambda seed: None) -> None:
        """Run trials; ``during`` is what the training with a seed does."""

        def train(recipe: Any, study: Study, out: Path, **options: Any) -> None:
            with self.log.open("a", encoding="utf-8") as log:
                log.write(f"{os.getpid()} {recipe.seed}\n")
            during(recipe.seed)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(runner_module, "train", train)
            patch.setattr(runner_module, "records_of", lambda trial, *a, **k: [record(trial)])
            patch.setattr(runner_module, "study_controls", lambda *a: [])
            hours, caches = Hours.read(self.out), Caches(self.out, self.out)
            runner = Runner(self.study, Kept(self.out), hours, caches, say=self.said.append)
            assert runner.run(asked) == []

    def start(self, *arguments: Any) -> Any:
        process = FORK.Process(target=self.run, args=arguments, daemon=True)
        process.start()
        return process

    def hold(self, asked: list[Trial], seed: int, until: Any) -> Any:
        """A process that is at work on a trial until an event."""

        def wait(now: int) -> None:
            if now == seed:
                until.wait(LIMIT_S)

        process = self.start(asked, wait)
        deadline = time.monotonic() + LIMIT_S
        while (process.pid, seed) not in self.trained:
            assert process.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return process

    @property
    def recorded(self) -> set[int]:
        lines = (self.out / RECORDS_FILE).read_text("utf-8").splitlines()
        return {RunRecord.from_dict(json.loads(line), RECORDS_FILE).seed for line in lines}


def record(trial: Trial) -> RunRecord:
    return RunRecord(2, trial.row, "Test split", trial.seed, "model", ("s",), (True,))


def end(*processes: Any) -> None:
    for process in processes:
        process.join(LIMIT_S)
        assert process.exitcode == 0


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return Study.load(make_study(tmp_path_factory.mktemp("sharing")))


@pytest.fixture
def place(study: Study, tmp_path: Path) -> Place:
    return Place(tmp_path, study)


def test_two_processes_share_the_trials(place: Place) -> None:
    asked, both, begun = trials(5), FORK.Barrier(2), FORK.Value("i", 0)

    def during(seed: int) -> None:
        with begun.get_lock():
            begun.value += 1
            first = begun.value <= 2
        if first:
            both.wait(LIMIT_S)  # so that neither can do it all

    end(*[place.start(asked, during) for _ in range(2)])
    assert sorted(seed for _, seed in place.trained) == list(range(5)), "each once"
    assert len({process for process, _ in place.trained}) == 2
    assert place.recorded == set(range(5))
    hours = Hours.read(place.out)
    assert set(hours.entries) == {word(trial) for trial in asked}
    for entry in hours.entries.values():
        assert len(entry["intervals"]) == 2, "training and scoring"
        assert entry["error"] == ""
        assert entry["threads"] >= 1


def test_what_another_process_works_on_is_left_to_it_and_told(place: Place) -> None:
    asked, go = trials(), FORK.Event()
    other = place.hold(asked, 1, go)
    place.run(asked)
    assert [seed for process, seed in place.trained if process == os.getpid()] == [2]
    assert place.said[-1] == (
        "Missing here, since another process works on them: Table 2, smollm2.lora, seed 1"
    )
    assert place.recorded == {0, 2}
    go.set()
    end(other)
    assert place.recorded == {0, 1, 2}
    assert len(place.trained) == 3


def test_what_is_finished_at_the_second_look_is_taken(place: Place) -> None:
    asked, go = trials(2), FORK.Event()
    other = place.hold(asked, 0, go)

    def during(seed: int) -> None:
        go.set()
        other.join(LIMIT_S)

    place.run(asked, during)
    assert [seed for _, seed in place.trained] == [0, 1]
    assert place.recorded == {0, 1}
    assert not any("Missing" in line for line in place.said)
    assert len(Hours.read(place.out).entries) == 2


def test_the_trial_of_a_killed_process_is_free_at_once(place: Place) -> None:
    asked = trials(2)
    other = place.hold(asked, 0, FORK.Event())

    def during(seed: int) -> None:
        if seed == 1:
            other.kill()
            other.join()
            assert other.exitcode == -signal.SIGKILL

    place.run(asked, during)
    assert [seed for _, seed in place.trained] == [0, 1, 0]
    assert place.recorded == {0, 1}
    assert not any("Missing" in line for line in place.said)


def test_what_is_finished_is_not_run_whoever_still_holds_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, early = trials(2)
    kept = Kept(place.out)

    @contextmanager
    def claimed_late(run: Path) -> Iterator[bool]:
        if run == kept.run(late):  # finished between the look and the claim
            kept.keep(late, [record(late)])
            kept.keep(early, [record(early)])
        yield run == kept.run(late)

    monkeypatch.setattr(runner_module, "claimed", claimed_late)
    place.run([late, early])
    assert place.trained == []
    assert not any("Missing" in line for line in place.said)
    assert place.recorded == {0, 1}


def test_a_run_that_is_trained_alone_is_left_alone_too(place: Place) -> None:
    (asked,) = trials(1)
    run = Kept(place.out).run(asked)
    run.mkdir(parents=True)
    with alone(run):
        place.run([asked])
    assert place.trained == []
    place.run([asked])
    assert place.recorded == {0}


def test_processes_of_one_training_do_each_trial_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, hours = trials(1)[0], Hours.read(tmp_path)
    with claimed(tmp_path) as first, claimed(tmp_path) as second:
        assert (first, second) == (True, False)
        monkeypatch.setenv("WORLD_SIZE", "2")
        with claimed(tmp_path) as together:
            assert together
    monkeypatch.setenv("RANK", "1")
    hours.end(asked, "commit a")
    assert not (tmp_path / HOURS_FILE).exists(), "the first one counts for all"


def test_no_entry_is_lost_when_many_write(tmp_path: Path) -> None:
    shared, *own = trials(5)

    def write(trial: Trial) -> None:
        hours = Hours.read(tmp_path)
        for _ in range(8):
            with hours.timing(shared, "training_s"):
                pass
            hours.end(trial, "commit a")

    processes = [FORK.Process(target=write, args=(trial,)) for trial in own]
    for process in processes:
        process.start()
    end(*processes)
    hours = Hours.read(tmp_path)
    assert len(hours.of(shared)["intervals"]) == 32
    assert hours.codes(own) == "commit a: 4 trials"


@pytest.mark.parametrize(
    ("intervals", "length", "most"),
    [
        ([], 0, 0),
        ([(10, 20), (20, 30)], 20, 1),
        ([(10, 20), (12, 15), (14, 30)], 20, 3),
        ([(50, 60), (10, 20), (20, 20)], 20, 1),
    ],
)
def test_the_clock(intervals: list[tuple[int, int]], length: int, most: int) -> None:
    assert on_the_clock(intervals) == (length, most)


def test_elapsed_hours_count_side_by_side_once_and_older_entries_in_a_row(tmp_path: Path) -> None:
    old: dict[str, Any] = {"trial": "old", "training_s": 3600.0, "scoring_s": 1800.0}
    one = {"training_s": 7200.4, "intervals": [[0, 3600], [10_000, 13_600]]}
    two = {"training_s": 3599.8, "intervals": [[1800, 5400]]}
    mixed = {"training_s": 3600.0, "scoring_s": 1800.0, "intervals": [[5400, 7200]]}
    write_json(tmp_path / HOURS_FILE, {"hours": 1.5, "trials": {"a.record": old}})
    hours = Hours.read(tmp_path)
    assert (hours.total, hours.elapsed, hours.told) == (
        1.5,
        1.5,
        "1.50 h of trials, 1.50 h elapsed",
    )
    hours.entries.update({"b.record": one, "c.record": two})
    assert hours.elapsed == pytest.approx(1.5 + 2.5)
    assert hours.told == "4.50 h of trials, 4.00 h elapsed, with up to 2 at a time"
    hours.entries["d.record"] = mixed
    assert hours.elapsed == pytest.approx(1.5 + 3 + 1), "an hour of before intervals were kept"


def test_two_studies_cannot_both_have_a_folder(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    make_study(other)
    sheet = next((other / "study").glob("sessions.*"))
    sheet.write_bytes(sheet.read_bytes().replace(b"71", b"72"))
    refused, together = FORK.Value("i", 0), FORK.Barrier(2)

    def claim(mine: Study, delay: float) -> None:
        def slowly(file: Path, value: Any) -> None:
            time.sleep(delay)
            write_json(file, value)

        monkeypatch.setattr(kept_module, "write_json", slowly)
        together.wait(LIMIT_S)
        try:
            Kept(tmp_path / "out").claim(mine)
        except UsageError:
            with refused.get_lock():
                refused.value += 1

    claims = ((study, 0.1), (Study.load(other / "study"), 0.5))
    processes = [FORK.Process(target=claim, args=arguments) for arguments in claims]
    for process in processes:
        process.start()
    end(*processes)
    assert refused.value == 1


def test_what_others_finish_while_the_page_is_written_comes_onto_it(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, told = Plan("table6", study.folder, tmp_path / "out", seeds=(0,)), []

    def tell(plan: Plan, runner: Runner, asked: list[Trial], *rest: Any) -> Any:
        told.append(sum(map(runner.kept.finished, asked)))
        with suppress(IndexError):
            runner.kept.keep(asked[len(told) - 1], [])
        return told

    monkeypatch.setattr(Runner, "run", lambda *a: [])
    monkeypatch.setattr(experiment_module, "_tell", tell)
    experiment(plan, cubes=tmp_path, tokens=tmp_path)
    assert told == [0, 1, 2, 3]
