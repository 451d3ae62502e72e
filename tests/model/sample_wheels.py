"""Tiny wheels that pip accepts."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

from medblip.model.pretrained.wheels import Member, Wheel


def write_wheel(folder: Path, name: str, files: Mapping[str, bytes]) -> Wheel:
    """Write a wheel that pip accepts; its members are pinned by their base names."""
    dist_info = f"{name}-1.0.dist-info"
    own = {
        f"{dist_info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{dist_info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{dist_info}/RECORD": b"",
    }
    path = folder / f"{name}-1.0-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in (dict(files) | own).items():
            archive.writestr(member, content)
    members = {
        Path(member).name: Member(member, hashlib.sha256(content).hexdigest(), len(content))
        for member, content in files.items()
    }
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Wheel(name, "1.0", sha256, path.stat().st_size, "MIT", "nobody", members)
