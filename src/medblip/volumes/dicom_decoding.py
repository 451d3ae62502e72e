"""Packed DICOM pictures, unpacked by pydicom and its codecs in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medblip.errors import InputError
from medblip.volumes.dicom_format import PixelFormat
from medblip.volumes.dicom_values import broken

_PROGRAM = Path(__file__).with_name("unpack_pixels.py")
_SECONDS = 300


def unpack(
    pictures: Sequence[bytes], names: Sequence[str], syntax: str, pixels: PixelFormat
) -> NDArray[Any]:
    """Unpack the frames of a series.

    Starting the process takes about half a second, which a damaged picture that ends it is worth.

    Args:
        pictures: packed frames, whose announced size has been checked.
        names: file of each, for messages.
        syntax: UID of their transfer syntax.
        pixels: what the files say of their pixels.

    Returns:
        Stored numbers ``(frames, rows, columns)``.

    Raises:
        InputError: ``missing-extra`` without pydicom, ``codec-missing``, ``unsupported-format``
            for an unknown syntax, ``broken-dicom`` for a picture that cannot be unpacked.
    """
    dtype = pixels.dtype.newbyteorder("<")
    request = {
        "syntax": syntax,
        "rows": pixels.rows,
        "columns": pixels.columns,
        "bits": pixels.bits,
        "used": pixels.bits_used,
        "signed": pixels.signed,
        "dtype": f"{dtype.kind}{dtype.itemsize}",
        "sizes": [len(picture) for picture in pictures],
    }
    sent = b"".join([json.dumps(request).encode(), b"\n", *pictures])
    answer, values = _answered(sent, names[0])
    if "error" in answer:
        raise _refused(answer, names)
    shape = (len(pictures), pixels.rows, pixels.columns)
    if len(values) != len(pictures) * pixels.rows * pixels.columns * dtype.itemsize:
        raise broken(names[0], "its pixels unpack to another size")
    return np.frombuffer(values, dtype).reshape(shape)


def _answered(sent: bytes, name: str) -> tuple[dict[str, Any], memoryview]:
    # -P: modules beside the program are not to be found by those that it imports.
    command = [sys.executable, "-P", str(_PROGRAM)]
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # each reserves address space
    try:
        done = subprocess.run(
            command,
            input=sent,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # it may quote the file
            timeout=_SECONDS,
            check=False,
            env=os.environ | threads,
        )
    except subprocess.TimeoutExpired:
        raise broken(name, f"its pixels are not unpacked within {_SECONDS} seconds") from None
    line, _, _ = done.stdout.partition(b"\n")
    if done.returncode or not line:
        raise broken(name, "the codec crashed or ran out of memory over its pixels")
    return json.loads(line), memoryview(done.stdout)[len(line) + 1 :]


def _refused(answer: dict[str, Any], names: Sequence[str]) -> InputError:
    name, kind = names[answer.get("frame", 0)], answer.get("kind", "")
    if answer["error"] == "broken":
        return InputError(
            name,
            f"its pixels cannot be unpacked ({kind}); expected a sound picture",
            "copy or download the file again, or add codecs: pip install 'medblip[dicom-codecs]'",
            code="broken-dicom",
        )
    if answer["error"] == "unknown-syntax":
        return InputError(
            name,
            "its pixels are packed in a way that pydicom does not know; expected a transfer "
            "syntax of the standard",
            "convert the series: dcm2niix -z y FOLDER",
            code="unsupported-format",
        )
    if answer["error"] == "codec-missing":
        return InputError(
            name,
            f"its pixels are packed as {kind}; expected a codec for that, and none is installed",
            "pip install 'medblip[dicom-codecs]'",
            code="codec-missing",
        )
    return InputError(
        name,
        "its pixels are packed; expected pydicom to unpack them, and it is not installed",
        "pip install 'medblip[dicom]'",
        code="missing-extra",
    )
