"""A cohort's download as a list of files that are still to be made, and the truth about it."""

from __future__ import annotations

from dataclasses import dataclass, field

from medblip.simulate.image_files import PlainFile, SimulatedFile
from medblip.simulate.pictures import Protocol
from medblip.simulate.table_files import TableFile
from medblip.simulate.truth import Truth


@dataclass(frozen=True)
class Order:
    """What to deliver.

    Attributes:
        replica: one scan for this many of the paper's.
        seed: of everything.
        scale: voxels along each axis, relative to the vendor's matrix.
    """

    replica: int = 100
    seed: int = 0
    scale: float = 1.0

    def share(self, images: int) -> int:
        """How many of the paper's ``images`` to simulate."""
        return max(1, round(images / self.replica))


@dataclass
class Delivery:
    """What lies in the cohort's folder.

    Attributes:
        order: what was asked for.
        truth: what a right reader finds.
        files: to be made; paths relative to the cohort's folder.
    """

    order: Order
    truth: Truth
    files: list[SimulatedFile] = field(default_factory=list)

    @property
    def cohort(self) -> str:
        return self.truth.cohort

    def add(self, *files: SimulatedFile) -> None:
        self.files.extend(files)

    def text(self, path: str, text: str) -> None:
        self.files.append(PlainFile(path, text.encode()))

    def tables(self, *tables: TableFile) -> None:
        self.files.extend(table.file() for table in tables if table.rows)

    def scaled(self, protocol: Protocol) -> Protocol:
        """The protocol at the order's scale."""
        return protocol.scaled(self.order.scale)
