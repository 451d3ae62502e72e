"""The estimate for many GPUs, against its formula worked by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_recipe import LENGTHS, tiny_recipe
from typer.testing import CliRunner

from medblip.cli import app
from medblip.training.planning import Cluster, Plan, plan, scale
from medblip.training.planning.scaling import feature_bytes

EIGHT = Cluster(gpus=8, nodes=1, node_bandwidth=100.0, network_bandwidth=10.0)
MANY = Cluster(gpus=8, nodes=4, node_bandwidth=100.0, network_bandwidth=10.0)


@pytest.fixture(scope="module")
def planned() -> Plan:
    return plan(tiny_recipe(), memory=1 << 30, batch=4, lengths=LENGTHS)


def test_a_message_goes_round_the_gpus_of_a_machine_and_round_the_machines() -> None:
    assert EIGHT.seconds(800.0) == pytest.approx(7.0)  # 700 of 800 bytes at 100 a second
    assert MANY.seconds(800.0) == pytest.approx(7.0 + 60.0)  # and 600 of them at 10
    assert Cluster(1).seconds(800.0) == 0.0


def test_a_step_is_compute_and_traffic_hidden_or_not(planned: Plan) -> None:
    recipe = tiny_recipe()
    found = scale(planned, recipe, EIGHT)
    flops = planned.training.flops.total
    assumed = planned.assumptions
    assert found.compute == pytest.approx(4 * flops / (assumed.tflops * 1e12 * assumed.utilisation))
    assert found.gradients == pytest.approx(2 * EIGHT.seconds(4 * planned.learned))
    assert found.features == pytest.approx(EIGHT.seconds(8 * 4 * feature_bytes(planned, recipe)))
    assert found.towers == 0.0
    parts = found.compute + found.gradients
    assert found.step.high == pytest.approx(parts + found.features)
    assert found.step.low == pytest.approx(max(found.compute, found.gradients) + found.features)
    assert found.samples_per_second.low == pytest.approx(32 / found.step.high)
    assert found.efficiency.high == pytest.approx(found.compute / found.step.low)


def test_sharded_towers_are_gathered_forward_and_backward(planned: Plan) -> None:
    recipe = tiny_recipe()
    frozen = planned.training.memory.tensors.frozen_weights
    assert scale(planned, recipe, MANY, sharded=True).towers == pytest.approx(
        2 * MANY.seconds(frozen)
    )


def test_one_gpu_moves_nothing(planned: Plan) -> None:
    found = scale(planned, tiny_recipe(), Cluster(1), sharded=True)
    assert found.gradients == found.features == found.towers == 0.0
    assert found.efficiency.low == found.efficiency.high == 1.0


def test_the_command_adds_the_estimate_where_several_gpus_are_named(tmp_path: Path) -> None:
    file = tmp_path / "tiny.yaml"
    tiny_recipe().write(file)
    asked = ["plan", str(file), "--gpu-memory", "1GiB", "--prompt-tokens", "20"]
    alone = CliRunner().invoke(app, [*asked, "--json"])
    several = CliRunner().invoke(app, [*asked, "--json", "--gpus", "8", "--nodes", "2"])
    assert "scaling" not in json.loads(alone.stdout)
    sharded = [scaling["sharded"] for scaling in json.loads(several.stdout)["scaling"]]
    assert sharded == [False, True]
    shown = CliRunner().invoke(app, [*asked, "--gpus", "8"])
    assert "samples/s" in shown.stdout
