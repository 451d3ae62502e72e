"""Cubes on disk: one safetensors file each, named by what the cube was made from and how.

A reader sees a whole file or none; a damaged file is made again. No name or path of the scan is
stored, only its content's hash.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from medblip.errors import InputError, UsageError
from medblip.findings import Finding
from medblip.storage import replacing
from medblip.volumes.cube import Cube, SourceFacts
from medblip.volumes.limits import ReadLimits
from medblip.volumes.orientation import to_ras
from medblip.volumes.preprocessing import Preprocessing, preprocess
from medblip.volumes.scan_sources import open_scan
from medblip.volumes.volume import StoredVolume, Volume

FORMAT = "medblip-cube-2"
Gate = Callable[[Volume], Iterable[Finding]]


def load_cube(
    path: str | os.PathLike[str],
    preprocessing: Preprocessing | None = None,
    cache: Path | None = None,
    *,
    volume_index: int | None = None,
    assume_orientation: str | None = None,
    root: str | os.PathLike[str] | None = None,
    limits: ReadLimits | None = None,
    files: str = "",
    series: str = "",
    gate: Gate | None = None,
    gate_version: str = "",
) -> Cube:
    """Read and preprocess a scan, or take the cube from the cache if it was done before.

    Args:
        path, volume_index, assume_orientation, root, limits, files, series: as for
            ``read_volume``. The cube's name depends on the bytes of the files that were chosen,
            not on how they were.
        preprocessing: as for ``preprocess``.
        cache: folder of cubes, made if missing; None neither reads nor writes one.
        gate: looks at the volume (RAS order) before it is preprocessed; its findings are kept
            with the cube, and an ``error`` among them refuses the scan.
        gate_version: changes when the gate would find something else; part of the cache's key.

    Returns:
        The ``Cube``, with ``source_sha256`` and, if there is a cache, ``cache_file`` set.

    Raises:
        InputError: as ``read_volume`` and ``preprocess`` do, or the gate's first error.
        UsageError: ``cache-unwritable`` where the cube cannot be stored.
    """
    settings = preprocessing or Preprocessing()
    limits = limits or ReadLimits()
    source = open_scan(path, root=root, files=files, series=series, limits=limits)
    digest = source.sha256()
    options = (volume_index, assume_orientation, asdict(limits), gate is not None, gate_version)
    file = None if cache is None else cache / cube_file_name(digest, settings, options)
    if file is not None and (cube := _cached(file, source.name)) is not None:
        return cube
    stored = source.read(volume_index, assume_orientation, limits)
    cube = preprocess(_gated(stored, gate), settings)
    cube = replace(cube, source_sha256=digest)
    if file is None:
        return cube
    write_cube(cube, file)
    return replace(cube, cache_file=file.name)


def cube_file_name(digest: str, preprocessing: Preprocessing, options: object = None) -> str:
    """Name of a cube's cache file: a hash of the scan's bytes and all that shapes the cube."""
    text = json.dumps([FORMAT, digest, preprocessing.fingerprint(), options])
    return f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.safetensors"


def write_cube(cube: Cube, file: Path) -> None:
    """Write a cube to one safetensors file, whole or not at all.

    Raises:
        UsageError: ``cache-unwritable`` where the folder cannot be written or the disk is full.
    """
    array = np.ascontiguousarray(cube.array)
    facts = {
        "format": FORMAT,
        "affine": cube.affine.tolist(),
        "bounds": cube.bounds,
        "facts": asdict(cube.facts),
        "findings": [[f.code, f.level, f.problem, f.fix] for f in cube.findings],
        "source_sha256": cube.source_sha256,
        "crc32": zlib.crc32(array.data),
    }
    # One entry: safetensors writes several in an order that changes from process to process.
    metadata = {"cube": json.dumps(facts, allow_nan=False)}
    try:
        with replacing(file) as temporary:
            save_file({"array": array}, temporary, metadata)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            str(file.parent),
            f"a cube cannot be stored here: {reason}",
            "free space, or choose another cache folder",
            code="cache-unwritable",
        ) from error


def read_cube(file: str | os.PathLike[str], source: str | None = None) -> Cube:
    """Read a cube that ``write_cube`` wrote and check it against its checksum.

    Args:
        file: the safetensors file.
        source: the scan's name for messages; the cache file's own name if None.

    Raises:
        InputError: ``missing-file`` or ``corrupt-cube``.
    """
    file = Path(file)
    _check_there(file)
    try:
        with safe_open(file, framework="numpy") as stored:
            metadata = stored.metadata() or {}
            array = stored.get_tensor("array")
        return replace(_cube_of(array, metadata, source or file.name), cache_file=file.name)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise _corrupt(file, error) from error


def map_cube_array(file: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """The cube's voxels, memory-mapped and read-only: uint8 ``(size, size, size)``.

    Only pages that are touched are read, and processes share them; the checksum is not checked.

    Raises:
        InputError: ``missing-file``, or ``corrupt-cube`` where the file is damaged or cut.
    """
    file = Path(file)
    _check_there(file)
    try:
        with file.open("rb") as handle:
            header_bytes = int.from_bytes(handle.read(8), "little")
            if header_bytes > file.stat().st_size:
                raise ValueError("the header is longer than the file")
            entry = json.loads(handle.read(header_bytes))["array"]
        if entry["dtype"] != "U8":
            raise ValueError(f"the voxels are {entry['dtype']}")
        offset = 8 + header_bytes + entry["data_offsets"][0]
        return np.memmap(file, np.uint8, mode="r", offset=offset, shape=tuple(entry["shape"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _corrupt(file, error) from error


def _gated(stored: StoredVolume, gate: Gate | None) -> StoredVolume:
    if gate is None:
        return stored
    findings = tuple(gate(to_ras(stored.scaled())))
    for finding in findings:
        if finding.level == "error":
            source = stored.unscaled.source
            raise InputError(source, finding.problem, finding.fix, code=finding.code)
    return replace(stored, unscaled=stored.unscaled.with_findings(*findings))


def _cached(file: Path, source: str) -> Cube | None:
    try:
        return read_cube(file, source)
    except InputError:
        return None  # missing, cut or damaged: it is made again


def _cube_of(array: NDArray[np.uint8], metadata: dict[str, str], source: str) -> Cube:
    stored: dict[str, Any] = json.loads(metadata["cube"])
    if stored.get("format") != FORMAT:
        raise ValueError(f"the format is {stored.get('format')}, expected {FORMAT}")
    if array.dtype != np.uint8 or array.ndim != 3:
        raise ValueError(f"the voxels are {array.dtype} of shape {array.shape}")
    if zlib.crc32(array.data) != stored["crc32"]:
        raise ValueError("the voxels do not match their checksum")
    facts = stored["facts"]
    x, y, z = ((int(low), int(high)) for low, high in stored["bounds"])
    return Cube(
        array=array,
        affine=np.array(stored["affine"], dtype=np.float64).reshape(4, 4),
        bounds=(x, y, z),
        facts=SourceFacts(tuple(facts["shape"]), tuple(facts["voxel_sizes"]), facts["axcodes"]),
        findings=tuple(
            Finding(code, level, source, problem, fix)
            for code, level, problem, fix in stored["findings"]
        ),
        source=source,
        source_sha256=stored["source_sha256"],
    )


def _check_there(file: Path) -> None:
    if not file.exists():
        raise InputError(
            file.name,
            "no such cube in the cache",
            "give the folder of cubes that the study was prepared with (--cache), or prepare the "
            "study again",
            code="missing-file",
        )


def _corrupt(file: Path, error: Exception) -> InputError:
    return InputError(
        file.name,
        f"the cached cube is damaged: {error}",
        "delete it and prepare the scan again",
        code="corrupt-cube",
    )
