"""Optional treatment of a scan by other programs: bias field and brain extraction.

Neither is needed: cubes are cut to the head by formulas. The tools are those named here, in the
versions of the extra ``strip``; their results are theirs, and no claim is made for them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from medblip.errors import InputError, UsageError
from medblip.findings import Finding
from medblip.volumes.head_mask import head_mask
from medblip.volumes.volume import Volume

BIAS_TOOLS = ("n4",)
STRIP_TOOLS = ("deepbet",)
_SHRINK = 4  # the field is smooth: it is fitted on every fourth voxel, as is usual


def treated(volume: Volume, *, bias: str = "", strip: str = "") -> Volume:
    """A scan in RAS order after the tools that are named, the bias field first.

    Args:
        volume: in RAS order.
        bias: ``n4`` divides by the bias field that SimpleITK's N4 fits within the head.
        strip: ``deepbet`` sets everything outside the brain to the lowest intensity; it was made
            for T1-weighted scans of adults.

    Returns:
        The scan with a note for each tool.

    Raises:
        UsageError: ``missing-extra`` if a tool is not installed.
        InputError: ``treatment-failed`` where a tool finds nothing that it can work on, or
            ``no-head-found``.
    """
    if bias:
        volume = _noted(volume, correct_bias(volume), f"the bias field was corrected by {bias}")
    if strip:
        volume = _noted(volume, strip_brain(volume), f"the brain was extracted by {strip}")
    return volume


def correct_bias(volume: Volume) -> NDArray[np.float32]:
    """Intensities divided by the bias field that N4 fits within the head.

    Raises:
        UsageError, InputError: as ``treated``.
    """
    sitk = _tool("SimpleITK", volume.source)
    # N4 takes logarithms; air and what lies below it stay out of its mask.
    inside = head_mask(volume) & (volume.array > 0)
    image = _as_itk(sitk, volume, volume.array)
    mask = _as_itk(sitk, volume, inside.astype(np.uint8))
    filter_ = sitk.N4BiasFieldCorrectionImageFilter()
    filter_.SetNumberOfThreads(1)  # several add up in another order each time
    shrink = [max(1, min(_SHRINK, n // 16)) for n in volume.shape]

    def run() -> NDArray[np.float32]:
        filter_.Execute(sitk.Shrink(image, shrink), sitk.Shrink(mask, shrink))
        field = sitk.GetArrayFromImage(filter_.GetLogBiasFieldAsImage(image))
        corrected: NDArray[np.float32] = volume.array / np.exp(field).transpose(2, 1, 0)
        return corrected.astype(np.float32, copy=False)

    return _checked(run, volume.source, "N4")


def strip_brain(volume: Volume) -> NDArray[np.float32]:
    """Intensities with everything but the brain set to the lowest one.

    Raises:
        UsageError, InputError: as ``treated``.
    """
    deepbet = _tool("deepbet", volume.source)

    def run() -> NDArray[np.float32]:
        image = nib.Nifti1Image(volume.array, volume.affine)
        mask = deepbet.BrainExtraction(no_gpu=True).run(image)[1]
        brain = np.asarray(mask.dataobj, dtype=bool)
        return np.where(brain, volume.array, volume.array.min())

    return _checked(run, volume.source, "deepbet")


def _tool(module: str, name: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UsageError(
            name,
            f"is to be treated by {module}, which is not installed",
            "pip install 'medblip[strip]'",
            code="missing-extra",
        ) from None


def _checked(run: Callable[[], NDArray[np.float32]], name: str, tool: str) -> NDArray[np.float32]:
    try:
        array = run()
    except Exception as error:  # each tool has its own ways of giving up
        raise _failed(name, tool, type(error).__name__) from None
    if not np.isfinite(array).all() or array.min() == array.max():
        raise _failed(name, tool, "an empty result")
    return array


def _failed(name: str, tool: str, what: str) -> InputError:
    return InputError(
        name,
        f"{tool} cannot treat this scan ({what}); expected a T1-weighted head",
        "look at the scan, or prepare it without this tool",
        code="treatment-failed",
    )


def _as_itk(sitk: Any, volume: Volume, array: NDArray[Any]) -> Any:
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.SetSpacing(volume.voxel_sizes)
    return image


def _noted(before: Volume, array: NDArray[np.float32], note: str) -> Volume:
    finding = Finding("treated", "note", before.source, note)
    return replace(before, array=array).with_findings(finding)
