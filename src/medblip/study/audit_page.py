"""The audit as one page that needs nothing else and holds no identifier."""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path

import jinja2
import numpy as np
from numpy.typing import NDArray

from medblip.notice import RESEARCH_USE, SIMULATED_DATA
from medblip.storage import write_text
from medblip.study.audit import Audit, Thumbnails
from medblip.study.leakage import text_only_ceiling
from medblip.study.outliers import Outlier
from medblip.study.study import Study

MAX_PICTURES = 48


def write_audit(
    study: Study, result: Audit, path: Path, thumbnails: Thumbnails | None = None
) -> None:
    """Write ``audit.html``; with ``thumbnails``, small pictures of the odd scans are in it."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("medblip.study"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("audit.html.jinja").render(
        info=study.info,
        splits_rule=study.splits,
        audit=result,
        ceiling=text_only_ceiling(result.predictability),
        pictures=_pictures(result.outliers, thumbnails or {}),
        research_use=RESEARCH_USE,
        simulated=SIMULATED_DATA if study.info.simulated else "",
    )
    write_text(path, page)


def gray_png(picture: NDArray[np.uint8]) -> bytes:
    """A gray picture ``(row, column)`` as a PNG file."""
    height, width = picture.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    # Each row of a PNG begins with the number of its filter; 0 is none.
    rows = np.column_stack([np.zeros(height, np.uint8), picture]).tobytes()
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _pictures(odd: list[Outlier], thumbnails: Thumbnails) -> list[tuple[Outlier, str]]:
    """Axial, coronal and sagittal plane of each, side by side, as data URIs."""
    return [
        (outlier, f"data:image/png;base64,{base64.b64encode(png).decode()}")
        for outlier in odd[:MAX_PICTURES]
        if outlier.cube in thumbnails
        for png in (gray_png(np.hstack(list(thumbnails[outlier.cube].planes))),)
    ]
