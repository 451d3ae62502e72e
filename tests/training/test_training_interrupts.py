"""A signal finishes the step, saves, and leaves; the run then ends as one that was left alone."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_run import TinyRun, make_run

from medblip.training import interrupts
from medblip.training.checkpoints import newest_complete
from medblip.training.interrupts import (
    CutShort,
    StoppedError,
    cut_short_if_asked,
    stop_if_asked,
    watching,
)
from medblip.training.metrics_file import MetricsFile
from medblip.training.run import resume, train
from medblip.training.stage_trainer import StageTrainer
from medblip.training.token_cache import TokenCache
from tiny_world import learned_bytes

pytestmark = pytest.mark.usefixtures("code_stays")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    return make_run(tmp_path_factory.mktemp("tiny"), steps=7)


@pytest.fixture(scope="module")
def whole(tiny: TinyRun) -> Path:
    """The run that was left alone."""
    return train(tiny.recipe, tiny.study, tiny.root / "whole", **tiny.places, progress=False).folder


def validated(run: Path) -> list[dict[str, Any]]:
    rows = MetricsFile(run / "metrics.jsonl").read()
    return [row for row in rows if "validation_log_loss" in row]


def signalled(
    tiny: TinyRun, out: Path, patch: Callable[[pytest.MonkeyPatch], None]
) -> StoppedError:
    """Train until a signal that ``patch`` sends stops it."""
    with pytest.MonkeyPatch.context() as context, pytest.raises(StoppedError) as caught:
        patch(context)
        train(tiny.recipe, tiny.study, out, **tiny.places, progress=False)
    assert caught.value.code == "stopped"
    assert f"go on with `medblip train --resume {out}`" in str(caught.value)
    return caught.value


def in_step(step: int, number: signal.Signals) -> Callable[[pytest.MonkeyPatch], None]:
    def patch(context: pytest.MonkeyPatch) -> None:
        real = StageTrainer.training_step

        def training_step(self: StageTrainer, *args: Any, **kwargs: Any) -> Any:
            if self.stage.language and self.steps_done + 1 == step and self.piece == 0:
                os.kill(os.getpid(), number)
            return real(self, *args, **kwargs)

        context.setattr(StageTrainer, "training_step", training_step)

    return patch


def test_a_step_is_finished_and_saved_and_the_end_is_the_same(
    tiny: TinyRun, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    before = signal.getsignal(signal.SIGTERM)
    stopped = signalled(tiny, out, in_step(5, signal.SIGTERM))
    assert signal.getsignal(signal.SIGTERM) is before
    assert stopped.exit_code == 143
    assert "stopped by SIGTERM; step 5 of stage tune is saved" in str(stopped)
    assert newest_complete(out / "tune") == out / "tune" / "checkpoint-5"
    assert resume(out, progress=False).folder == out
    assert learned_bytes(out) == learned_bytes(whole)
    assert validated(out) == validated(whole)


def test_a_look_that_was_cut_short_is_taken_when_the_run_goes_on(
    tiny: TinyRun, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    # A look follows step 3, and is where the signal is seen first.
    stopped = signalled(tiny, out, in_step(3, signal.SIGINT))
    assert stopped.exit_code == 130
    assert newest_complete(out / "tune") == out / "tune" / "checkpoint-3"
    assert not [row for row in validated(out) if row["stage"] == "tune"]
    resume(out, progress=False)
    assert validated(out) == validated(whole)
    assert learned_bytes(out) == learned_bytes(whole)


def test_encoded_volumes_are_kept(tiny: TinyRun, tmp_path: Path) -> None:
    encode = TokenCache._encode_cube
    encoded = []

    def patch(context: pytest.MonkeyPatch) -> None:
        def encode_cube(self: TokenCache, name: str) -> None:
            encode(self, name)
            encoded.append(name)
            if len(encoded) == 3:
                os.kill(os.getpid(), signal.SIGUSR1)

        context.setattr(TokenCache, "_encode_cube", encode_cube)

    other = tmp_path / "tokens"
    moved = TinyRun(tiny.root, tiny.recipe)
    with pytest.MonkeyPatch.context() as context:
        context.setattr(TinyRun, "places", {"cubes": tiny.root / "cubes", "tokens": other})
        stopped = signalled(moved, tmp_path / "run", patch)
    assert stopped.exit_code == 138
    assert "the encoded volumes are kept" in str(stopped)
    assert len(list(other.rglob("*.safetensors"))) == len(encoded) == 3


def test_nothing_is_asked_without_a_signal(tmp_path: Path) -> None:
    with watching(tmp_path):
        stop_if_asked()
        cut_short_if_asked()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(CutShort):
            cut_short_if_asked()
        with pytest.raises(StoppedError):
            stop_if_asked()
    with watching(tmp_path):  # forgotten with the run
        stop_if_asked()


def test_the_second_signal_ends_it_but_not_the_launcher_s_echo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(interrupts.os, "kill", lambda pid, number: sent.append((pid, number)))
    with watching(tmp_path):
        monkeypatch.setenv("WORLD_SIZE", "2")
        for _ in range(3):
            interrupts._note(signal.SIGTERM, None)
        assert sent == []
        monkeypatch.delenv("WORLD_SIZE")
        interrupts._note(signal.SIGTERM, None)
        assert sent == [(os.getpid(), signal.SIGTERM)]
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_signals_stay_as_they_are_in_another_thread(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def look() -> None:
        with watching(tmp_path):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [before]
