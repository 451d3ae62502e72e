"""Proof that a frozen base is the one trained with, tensor by tensor.

``config.json`` keeps one hash a base; ``bases.json`` beside it keeps one a tensor, so that loading
on another base can say what differs. Both are taken of names, types, shapes and values: weights
that were only cut into other files are the same base.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from medblip.errors import InputError
from medblip.model.bases import EMBEDDED, resolve_base
from medblip.model.weight_files import opened, safetensors_files, some
from medblip.storage import sha256_of_file, write_json

BASES_FILE = "bases.json"
# Settings that say where a model came from or how it is run, not what it computes.
_PASSING = frozenset(
    {
        "_name_or_path",
        "architectures",
        "dtype",
        "quantization_config",
        "transformers_version",
        "use_cache",
    }
)
BY_TENSOR = "tensors"  # what ``sha256`` of a record is taken over; records without it: over files


@dataclass(frozen=True)
class BaseIdentity:
    """The weights of a base.

    Attributes:
        tensors: type, shape and SHA-256 of the values by name, e.g. ``F32 32x300 9f86d08188...``.
    """

    tensors: Mapping[str, str]

    @cached_property
    def sha256(self) -> str:
        """One hash over all tensors, whatever their order."""
        lines = sorted(f"{name} {what}\n" for name, what in self.tensors.items())
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def identify(folder: Path) -> BaseIdentity:
    """Read every byte of a folder's weights once.

    Raises:
        InputError: there are no safetensors files, or they are damaged or incomplete.
    """
    tensors: dict[str, str] = {}
    for file in safetensors_files(folder):
        with opened(file) as weights, ThreadPoolExecutor() as pool:
            names = list(weights.keys())
            found = pool.map(lambda name, weights=weights: _describe(weights, name), names)
            tensors |= zip(names, found, strict=True)
    return BaseIdentity(tensors)


def _describe(weights: Any, name: str) -> str:
    kind = weights.get_slice(name).get_dtype()
    tensor = weights.get_tensor(name)  # mapped, not copied; hashing lets other threads work
    values = tensor.reshape(-1).view(torch.uint8).numpy()
    shape = "x".join(map(str, tensor.shape)) or "scalar"
    return f"{kind} {shape} {hashlib.sha256(values).hexdigest()}"


def describe_base(
    source: str, revision: str | None = None, identity: BaseIdentity | None = None
) -> dict[str, Any]:
    """What the configuration keeps of a base: source, revision and the hash of its weights.

    Args:
        identity: of the weights, where it is known; else they are read.
    """
    identity = identity or identify(resolve_base(source, revision))
    return {
        "source": source,
        "revision": revision,
        "sha256": identity.sha256,
        "sha256_of": BY_TENSOR,
    }


def verify_base(
    base: Mapping[str, Any], folder: Path, role: str, checkpoint: Path
) -> BaseIdentity | None:
    """The identity of the weights in ``folder``; None where ``base`` is a record of whole files.

    Args:
        base: what the configuration keeps.
        role: ``vision`` or ``language``.
        checkpoint: the folder that may hold ``bases.json``.

    Raises:
        InputError: they are not the weights trained with; says which tensors differ.
    """
    if base.get("sha256_of") != BY_TENSOR:
        if weights_sha256(folder) != base["sha256"]:
            raise _other_base(base, folder, role, "the hash of its files differs")
        return None
    found = identify(folder)
    if found.sha256 != base["sha256"]:
        recorded = read_identities(checkpoint).get(role)
        known = recorded is not None and recorded.sha256 == base["sha256"]
        differs = differences(recorded, found) if recorded and known else "their hash differs"
        raise _other_base(base, folder, role, differs)
    return found


def verify_settings(recorded: Any, found: Any, role: str, folder: Path) -> None:
    """Raise InputError if a base's ``config.json`` makes the same weights compute something else.

    Args:
        recorded, found: the tower's configuration in the checkpoint, and that of the loaded base.
    """
    wanted, given = recorded.to_dict(), found.to_dict()
    other = [
        f"{name} is {given.get(name)!r}, was {wanted.get(name)!r}"
        for name in sorted((wanted.keys() | given.keys()) - _PASSING)
        if wanted.get(name) != given.get(name)
    ]
    if other:
        raise InputError(
            f"{role} base {folder.name}, config.json",
            f"not the settings that the checkpoint was trained with: {some(other)}",
            "put the config.json that belongs to the base back",
            code="other-base",
        )


def weights_sha256(folder: Path) -> str:
    """One hash over all safetensors files of a folder, by name and content.

    Raises:
        InputError: there is none; weights in pickle are never read.
    """
    safetensors_files(folder)
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        digest.update(f"{file.name}:{sha256_of_file(file)}\n".encode())
    return digest.hexdigest()


def differences(recorded: BaseIdentity, found: BaseIdentity) -> str:
    """What tells ``found`` from ``recorded``, in words: how many tensors, and the first few."""
    mine, theirs = found.tensors, recorded.tensors
    other = [n for n in sorted(mine.keys() & theirs) if mine[n] != theirs[n]]
    kinds = {
        f"of {len(theirs)} tensors differ": [f"{n} ({_how(mine[n], theirs[n])})" for n in other],
        "missing": sorted(theirs.keys() - mine),
        "not expected": sorted(mine.keys() - theirs),
    }
    return ", ".join(
        f"{len(names)} {what}: {some(names)}" for what, names in kinds.items() if names
    )


def _how(found: str, recorded: str) -> str:
    found, recorded = found.rpartition(" ")[0], recorded.rpartition(" ")[0]
    return "other values" if found == recorded else f"{found}, was {recorded}"


def _other_base(base: Mapping[str, Any], folder: Path, role: str, differs: str) -> InputError:
    source, revision = base["source"], base.get("revision")
    if source in EMBEDDED:
        fix = "run `medblip fetch-weights` to make it anew"
    else:
        where = f"{source} at revision {revision}" if revision else str(source)
        fix = (
            f"put the weights it was trained with back at {where}, or name their folder: "
            f"from_pretrained(..., bases={{{role!r}: FOLDER}})"
        )
    return InputError(
        f"{role} base {folder.name}",
        f"not the weights that the checkpoint was trained on; {differs}",
        fix,
        code="other-base",
    )


def complete_identities(
    known: Mapping[str, BaseIdentity], recorded: Mapping[str, Mapping[str, Any] | None]
) -> dict[str, BaseIdentity]:
    """The identity of each recorded base, by role: the known ones, and those that can be read here.

    One that is not here, or is another by now, is left out: its one hash in the configuration still
    guards it, and a difference can only not be explained.
    """
    identities = {}
    for role, base in recorded.items():
        if base is None or base.get("sha256_of") != BY_TENSOR:
            continue
        identity = known.get(role) or _identity_here(base)
        if identity is not None and identity.sha256 == base["sha256"]:
            identities[role] = identity
    return identities


def _identity_here(base: Mapping[str, Any]) -> BaseIdentity | None:
    try:
        source, revision = base["source"], base.get("revision")
        return identify(resolve_base(source, revision, verify=False, local_files_only=True))
    except InputError:
        return None


def write_identities(checkpoint: Path, identities: Mapping[str, BaseIdentity]) -> None:
    """Write ``bases.json``: type, shape and hash of each tensor, by role and name."""
    roles = {role: dict(identity.tensors) for role, identity in identities.items()}
    write_json(checkpoint / BASES_FILE, {"version": 1, "tensors": roles})


def read_identities(checkpoint: Path) -> dict[str, BaseIdentity]:
    """What ``bases.json`` says, by role; empty where it says nothing that can be read.

    It only explains a difference that the hash in ``config.json`` has found.
    """
    try:
        written = json.loads((checkpoint / BASES_FILE).read_text(encoding="utf-8"))
        return {
            str(role): BaseIdentity({str(name): str(what) for name, what in tensors.items()})
            for role, tensors in written["tensors"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


__all__ = [
    "BASES_FILE",
    "BaseIdentity",
    "complete_identities",
    "describe_base",
    "identify",
    "verify_base",
    "verify_settings",
]
