"""What many GPUs would give: a plan's arithmetic, and the bytes that each step moves.

Of ``W = gpus * nodes`` processes each computes its own samples for ``C`` seconds, as the plan says.
A message of ``S`` bytes that all have to know in full takes

    A(S) = S * (gpus - 1) / gpus / node_bandwidth + S * (nodes - 1) / nodes / network_bandwidth

seconds: once round the GPUs of a machine, once round the machines. Then

    gradients  = 2 * A(4 * learned)          summed, then sent to all; float32
    features   = A(W * samples * (4 * (queries + 2) * width + 8 * tokens))
    towers     = 2 * A(frozen bytes)         forward and backward, where they are sharded

Features and half of a sharded tower's bytes are needed before the backward pass begins. DDP sends
gradients while it still computes, and FSDP2 asks for a layer while the one before it runs: a step
takes from ``max(C, gradients + towers) + features``, all hidden that can be, to
``C + gradients + towers + features``, nothing hidden.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from medblip.recipe import Recipe
from medblip.training.planning.results import Plan

FLOAT = 4
TOKEN = 8  # bytes of a token's id
TEXTS = 2  # record; question and answer
NODE_BANDWIDTH = 300e9  # NVLink of an H100, what a ring reaches of its 450 GB/s a direction
NETWORK_BANDWIDTH = 50e9  # one InfiniBand port of 400 Gb/s a machine


@dataclass(frozen=True)
class Cluster:
    """Machines of so many GPUs each.

    Attributes:
        node_bandwidth: bytes a second of each GPU to the others of its machine.
        network_bandwidth: bytes a second of each machine to the others.
    """

    gpus: int
    nodes: int = 1
    node_bandwidth: float = NODE_BANDWIDTH
    network_bandwidth: float = NETWORK_BANDWIDTH

    @property
    def processes(self) -> int:
        return self.gpus * self.nodes

    def seconds(self, size: float) -> float:
        """Until ``size`` bytes, spread over all GPUs, are on each of them."""
        within = size * (self.gpus - 1) / self.gpus / self.node_bandwidth
        between = size * (self.nodes - 1) / self.nodes / self.network_bandwidth
        return within + between


@dataclass(frozen=True)
class Range:
    """A lowest and a highest value."""

    low: float
    high: float


@dataclass(frozen=True)
class Scaling:
    """A step on a cluster, in seconds, and what follows.

    Attributes:
        samples: of each process.
        compute, gradients, features, towers: the parts of a step; ``towers`` is 0 unless sharded.
        step: all of them, with as much of the traffic hidden behind arithmetic as can be, to none.
        samples_per_second: of all processes.
        efficiency: of that, the share of ``processes`` times one GPU's.
        hours: for the plan's scans once.
    """

    cluster: Cluster
    sharded: bool
    samples: int
    compute: float
    gradients: float
    features: float
    towers: float
    step: Range
    samples_per_second: Range
    efficiency: Range
    hours: Range

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def scale(plan: Plan, recipe: Recipe, cluster: Cluster, *, sharded: bool = False) -> Scaling:
    """Estimate a plan's training step on a cluster; the plan's batch is that of each GPU.

    Args:
        sharded: the frozen towers are split among all processes.
    """
    work = plan.training_checkpointed if plan.checkpointing else plan.training
    compute = work.batch * plan.assumptions.hours(work.flops.total) * 3600 / plan.assumptions.scans
    gradients = 2 * cluster.seconds(FLOAT * plan.learned)
    together = cluster.processes * work.batch
    features = cluster.seconds(together * feature_bytes(plan, recipe))
    frozen = work.memory.tensors.frozen_weights
    towers = 2 * cluster.seconds(frozen) if sharded else 0.0
    step = Range(
        low=max(compute, gradients + towers) + features,
        high=compute + gradients + towers + features,
    )
    return Scaling(
        cluster=cluster,
        sharded=sharded,
        samples=work.batch,
        compute=compute,
        gradients=gradients,
        features=features,
        towers=towers,
        step=step,
        samples_per_second=Range(together / step.high, together / step.low),
        efficiency=Range(compute / step.high, compute / step.low),
        hours=Range(*(plan.assumptions.scans * s / together / 3600 for s in (step.low, step.high))),
    )


def feature_bytes(plan: Plan, recipe: Recipe) -> int:
    """What one sample sends to all others for the contrastive losses: unit vectors and tokens."""
    vectors = recipe.model.qformer.num_query_tokens + TEXTS
    lengths = plan.assumptions.lengths
    tokens = lengths.record + lengths.question_answer
    return FLOAT * vectors * recipe.model.itc_hidden_size + TOKEN * tokens


__all__ = ["Cluster", "Range", "Scaling", "feature_bytes", "scale"]
