"""The command and what it prints."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from tiny_recipe import LENGTHS, tiny_recipe
from typer.testing import CliRunner

from medblip.cli import app
from medblip.errors import UsageError
from medblip.training.planning import TextLengths, parse_bytes, plan, plan_tables, show_bytes
from medblip.training.planning.planner import PAPER_SCANS, TFLOPS, UTILISATION


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("24GiB", 24 << 30),
        ("24 gib", 24 << 30),
        ("80GB", 80 * 10**9),
        ("1.5GiB", 3 << 29),
        ("24576MiB", 24 << 30),
        ("512kB", 512_000),
        ("7B", 7),
    ],
)
def test_amounts_of_memory(text: str, amount: int) -> None:
    assert parse_bytes(text, "--gpu-memory") == amount


@pytest.mark.parametrize("text", ["24", "24G", "GiB", "-1GiB", "0GiB", "24 GiB of it", "", "1e3MB"])
def test_what_is_no_amount_says_the_form(text: str) -> None:
    with pytest.raises(
        UsageError, match=r"--gpu-memory: .* write a number and a unit, e\.g\. 24GiB"
    ):
        parse_bytes(text, "--gpu-memory")


def test_sizes_are_shown_as_they_are_read() -> None:
    assert show_bytes(24 << 30) == "24.00 GiB"
    assert show_bytes(45 << 20) == "45.00 MiB"
    assert parse_bytes(show_bytes(3 << 29), "x") == 3 << 29


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.yaml"
    tiny_recipe().write(file)
    return file


def test_the_command_prints_the_plan_as_json(recipe_file: Path) -> None:
    options = ["--gpu-memory", "1kB", "--device", "cpu", "--batch", "5", "--json"]
    texts = ["--record-tokens", "20", "--prompt-tokens", "30"]
    shown = CliRunner().invoke(app, ["plan", str(recipe_file), *options, *texts])
    assert shown.exit_code == 0, shown.output
    said = json.loads(shown.stdout)
    assert said["stage"] == "tune"
    assert said["training"]["batch"] == 5
    assert said["assumptions"]["memory"] == 1000
    assert said["assumptions"]["lengths"]["record"] == 20
    tensors = said["training"]["memory"]["tensors"]
    assert said["training"]["memory"]["total"] == sum(tensors.values())
    assert said["learned"] == sum(part["learned"] for part in said["parameters"])


def test_two_scans_a_prompt_are_planned_where_questions_are_asked(recipe_file: Path) -> None:
    command = ["plan", str(recipe_file), "--device", "cpu", "--gpu-memory", "1kB", "--images", "2"]
    refused = CliRunner().invoke(app, command)
    assert isinstance(refused.exception, UsageError)
    assert refused.exception.code == "plan-of-two"
    shown = CliRunner().invoke(app, [*command, "tune.questions=vqa", "tune.itc_answer=0"])
    assert shown.exit_code == 0, shown.output
    assert "2 scans in a prompt" in " ".join(shown.stdout.split())


def test_a_wrong_amount_stops_the_command(recipe_file: Path) -> None:
    shown = CliRunner().invoke(app, ["plan", str(recipe_file), "--gpu-memory", "24"])
    assert isinstance(shown.exception, UsageError)
    assert shown.exception.exit_code == 2


def test_another_device_a_short_prompt_and_a_recipe_without_steps_are_refused() -> None:
    recipe = tiny_recipe()
    with pytest.raises(UsageError, match="give cuda or cpu"):
        plan(recipe, memory=1 << 30, device="tpu")
    with pytest.raises(UsageError, match="no room after a prefix of 4"):
        plan(recipe, memory=1 << 30, lengths=TextLengths(prompt=4))
    idle = recipe.model_copy(update={"tune": recipe.tune.model_copy(update={"steps": 0})})
    with pytest.raises(UsageError, match=r"set tune\.steps"):
        plan(idle, memory=1 << 30)


def test_the_tables_show_every_term_of_their_sums() -> None:
    planned = plan(tiny_recipe(gradient_checkpointing=True), memory=1 << 10, lengths=LENGTHS)
    console = Console(width=100, file=io.StringIO())
    console.print(plan_tables(planned))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for part in planned.parameters:
        assert f"{part.learned:,}" in text
    for amount in vars(planned.training.memory.tensors).values():
        assert show_bytes(amount) in text
    assert "recomputing *" in text
    assert not planned.training.fits
    assert planned.training.largest_batch == planned.answering.largest_batch == 0
    assert "none" in text
    assert f"hours, {PAPER_SCANS:,} scans" in text
    assert f"{TFLOPS:g} TFLOP/s at {UTILISATION:.0%}" in text
    hours = planned.training.flops.total * PAPER_SCANS / (TFLOPS * 1e12 * UTILISATION) / 3600
    assert planned.training.hours == pytest.approx(hours)
