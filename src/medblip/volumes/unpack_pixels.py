"""Unpacks DICOM pictures in a process of its own; run by ``dicom_decoding``, never imported.

Codecs are C++ and some end their process over a damaged picture, or ask for all memory. Reads one
line of JSON, then the packed pictures; writes one line of JSON, then the pixels, little end first.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import warnings
from typing import Any, BinaryIO

_MOST_MEMORY = 4 << 30  # address space; the libraries alone take half a gigabyte


def main(source: BinaryIO, target: BinaryIO) -> None:
    """Answer one request."""
    _limit_memory()
    warnings.simplefilter("ignore")
    logging.disable()  # neither may quote the file
    request: dict[str, Any] = json.loads(source.readline())
    pictures = [source.read(size) for size in request["sizes"]]
    try:
        arrays, answer = _unpack(request, pictures)
    except ImportError:
        arrays, answer = [], {"error": "missing-extra"}
    target.write(json.dumps(answer).encode() + b"\n")
    target.writelines(arrays)


def _unpack(request: dict[str, Any], pictures: list[bytes]) -> tuple[list[bytes], dict[str, Any]]:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    syntax = UID(request["syntax"])
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        return [], {"error": "unknown-syntax"}
    answer = {"kind": f"{syntax.name}, {syntax}"}
    if not decoder.is_available:
        return [], answer | {"error": "codec-missing"}
    arrays = []
    for number, picture in enumerate(pictures):
        try:
            array = decoder.as_array(_data_set(picture, request), raw=True)[0]
        except Exception:  # codecs raise all kinds
            return [], answer | {"error": "broken", "frame": number}
        if array.shape != (request["rows"], request["columns"]) or array.dtype.kind not in "iu":
            return [], answer | {"error": "broken", "frame": number}
        arrays.append(array.astype(f"<{request['dtype']}").tobytes())
    return arrays, answer


def _data_set(picture: bytes, request: dict[str, Any]) -> Any:
    """The least that a decoder needs: nothing of the file but its pixels."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate

    data_set = Dataset()
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = request["syntax"]
    data_set.Rows, data_set.Columns = request["rows"], request["columns"]
    data_set.SamplesPerPixel, data_set.PhotometricInterpretation = 1, "MONOCHROME2"
    data_set.BitsAllocated, data_set.BitsStored = request["bits"], request["used"]
    data_set.HighBit = request["used"] - 1
    data_set.PixelRepresentation = int(request["signed"])
    data_set.PixelData = encapsulate([picture])
    data_set["PixelData"].is_undefined_length = True
    return data_set


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = _MOST_MEMORY if hard == resource.RLIM_INFINITY else min(hard, _MOST_MEMORY)
    with contextlib.suppress(ValueError, OSError):  # macOS knows the limit and does not set it
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the pictures
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer)
