"""The list of transformers' checks is answered in full, by tests that exist, and so is its page."""

from __future__ import annotations

import ast
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nibabel as nib
import pytest
from tiny import based_model, head_scan, tokenizer

from medblip.model import MedBlipImageProcessor, MedBlipProcessor
from medblip.notice import RESEARCH_USE

ROOT = Path(__file__).resolve().parents[3]
HERE = ROOT / "tests" / "model"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import common_checks  # type: ignore[import-not-found]

    return common_checks


def collected(file: Path) -> set[str]:
    """Tests of a file that pytest collects and does not always skip."""
    assert file.is_file(), file
    assert file.name.startswith("test_")
    tree = ast.parse(file.read_text("utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    names = [node.name for node in functions]
    assert len(names) == len(set(names)), f"{file.name}: a test is defined twice"
    skipped = {
        f.name
        for f in functions
        for d in f.decorator_list
        if re.search(r"skip\b|xfail", ast.unparse(d))
    }
    return {name for name in names if name.startswith("test_")} - skipped


def test_each_check_that_passed_names_a_test_that_runs(script: Any) -> None:
    files: dict[str, set[str]] = {}
    for suite, entries in script.read_checks().items():
        for name, (verdict, where) in entries.items():
            if verdict != "passed":
                continue
            file, _, test = where.partition("::")
            tests = files.setdefault(file, collected(HERE / file))
            assert test in tests, f"{suite}.{name}: {where}"


def test_each_other_check_says_why(script: Any) -> None:
    for suite, entries in script.read_checks().items():
        for name, (verdict, why) in entries.items():
            if verdict != "passed":
                assert len(why) > 5, f"{suite}.{name}"
                assert "\n" not in why


def test_no_suite_is_left_out(script: Any) -> None:
    checks = script.read_checks()
    sizes = {suite: len(entries) for suite, entries in checks.items()}
    assert sizes == {  # as counted in transformers 5.23
        "ModelTesterMixin": 121,
        "ExportTesterMixin": 9,
        "TrainingTesterMixin": 1,
        "VLMModelTest": 2,
        "GenerationTesterMixin": 46,
        "ConfigTester": 10,
        "ProcessorTesterMixin": 43,
        "ImageProcessingTestMixin": 26,
        "PipelineTesterMixin": 6,
    }
    assert version("transformers").startswith("5.")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{}", "expected one of"),
        ('{ passed = "a", fails = "b" }', "expected one of"),
        ('{ maybe = "a" }', "expected one of"),
        ('{ passed = " " }', "without a test or a reason"),
    ],
)
def test_a_check_without_one_verdict_is_an_error(
    script: Any, tmp_path: Path, entry: str, message: str
) -> None:
    file = tmp_path / "checks.toml"
    file.write_text(f"[checks.Suite]\ntest_this = {entry}\n")
    with pytest.raises(ValueError, match=message):
        script.read_checks(file)


def test_the_page_is_up_to_date(script: Any) -> None:
    page = script.PAGE.read_text("utf-8")
    expected = script.page_with(script.table(script.read_checks()), page)
    assert page == expected, "run `python scripts/common_checks.py --write`"
    with pytest.raises(ValueError, match="the page lacks"):
        script.page_with("", "no marks")


def test_the_script_prints_what_it_would_write(
    script: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main([]) == 0
    assert capsys.readouterr().out == script.table(script.read_checks()) + "\n"


def test_python_on_the_page_runs(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = based_model(tmp_path / "bases")
    model.save_pretrained(tmp_path / "model")
    processor = MedBlipProcessor.for_model(
        model.config, MedBlipImageProcessor({"size": 16}), tokenizer(), max_length=80
    )
    processor.save_pretrained(tmp_path / "model")
    scan = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(head_scan().array, head_scan().affine), scan)
    page = script.PAGE.read_text("utf-8")
    assert RESEARCH_USE in re.sub(r"\s+", " ", page)
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "page", "exec"), {"FOLDER": str(tmp_path / "model"), "SCAN": str(scan)})  # noqa: S102
        assert len(block.splitlines()) <= 10
    printed = capsys.readouterr().out
    assert RESEARCH_USE in printed
