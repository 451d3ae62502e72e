"""Entering a run folder: how it was started, and that nobody else is in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from medblip.errors import UsageError
from medblip.storage import locked, write_json
from medblip.training.agreement import is_first_process

START_FILE = "run.json"
LOCK_FILE = ".lock"


class Start(BaseModel):
    """``run.json``: what a run was started with besides its recipe, so that it can go on alone.

    Attributes:
        study: folder of the study; ``cubes`` and ``tokens`` those of the caches, absolute all.
        accept_audit: codes of audit errors that are trained in spite of.
        trackers: experiment trackers.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    study: Path
    cubes: Path
    tokens: Path
    accept_audit: tuple[str, ...] = ()
    trackers: tuple[str, ...] = ()

    def write(self, out: Path) -> None:
        """Keep it in a run folder, with folders as this working directory means them."""
        values = self.model_dump(mode="json")
        for name in ("study", "cubes", "tokens"):
            values[name] = str(Path(values[name]).absolute())
        write_json(out / START_FILE, values)

    @classmethod
    def read(cls, out: Path) -> Start:
        """How the run in ``out`` was started.

        Raises:
            UsageError: ``not-a-run``.
        """
        try:
            return cls.model_validate_json((out / START_FILE).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, ValidationError):
            raise UsageError(
                str(out),
                f"holds no readable {START_FILE}, so no run to go on with",
                "give the folder that --out named, or RECIPE, --study and --out",
                code="not-a-run",
            ) from None


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Keep other runs out of a run folder; the lock of a killed one is gone with it.

    Raises:
        UsageError: ``run-in-use``.
    """
    if not is_first_process():  # the first one holds it for all
        yield
        return
    with ExitStack() as held:
        try:
            held.enter_context(locked(out / LOCK_FILE, timeout=0))
        except Timeout:
            raise UsageError(
                str(out),
                "another process trains in this folder at this moment",
                "wait for it, or choose another --out",
                code="run-in-use",
            ) from None
        yield
