"""A plan as tables for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from rich.console import Group
from rich.table import Table

from medblip.training.planning.parts import PAPER_SIDE
from medblip.training.planning.results import Plan, Work
from medblip.training.planning.scaling import Range, Scaling
from medblip.training.planning.sizes import show_bytes

_TENSORS = {
    "frozen_weights": "frozen weights",
    "learned_weights": "learned (float32)",
    "gradients": "gradients by then",
    "optimizer": "AdamW's moments",
    "inputs": "inputs",
    "activations": "activations",
}


def plan_tables(plan: Plan) -> Group:
    """Parameters, memory, arithmetic and assumptions, each row of a sum shown."""
    return Group(_parameters(plan), _memory(plan), _arithmetic(plan), _assumptions(plan))


def _parameters(plan: Plan) -> Table:
    table = Table("parameters", title=f"{plan.recipe}, stage {plan.stage}", title_justify="left")
    for heading in ("learned", "frozen"):
        table.add_column(heading, justify="right")
    for part in plan.parameters:
        table.add_row(part.name, f"{part.learned:,}", f"{part.frozen:,}")
    table.add_section()
    table.add_row("in all", f"{plan.learned:,}", f"{plan.frozen:,}")
    table.add_row(f"{PAPER_SIDE[0]} side, as the paper counts it", f"{plan.paper_side:,}", "")
    return table


def _memory(plan: Plan) -> Table:
    table = _table(plan, "memory at its peak")
    _row(table, plan, "samples", lambda w: str(w.batch))
    table.add_section()
    for field, name in _TENSORS.items():
        _row(table, plan, name, partial(_tensors, field))
    _row(table, plan, "fragmentation", lambda w: show_bytes(w.memory.fragmentation))
    _row(table, plan, "context, workspaces", lambda w: show_bytes(w.memory.context))
    table.add_section()
    _row(table, plan, "in all", lambda w: show_bytes(w.memory.total))
    size = show_bytes(plan.assumptions.memory)
    _row(table, plan, f"fits {size}", lambda w: "yes" if w.fits else "no")
    _row(table, plan, "largest batch", lambda w: str(w.largest_batch or "none"))
    return table


def _tensors(field: str, work: Work) -> str:
    return show_bytes(getattr(work.memory.tensors, field))


def _arithmetic(plan: Plan) -> Table:
    table = _table(plan, "TFLOP a sample")
    for part in plan.training.flops.by_part:
        _row(table, plan, part, partial(_teraflop, part))
    table.add_section()
    _row(table, plan, "in all", lambda w: f"{w.flops.total / 1e12:.3f}")
    scans = f"{plan.assumptions.scans:,}"
    _row(table, plan, f"hours, {scans} scans", lambda w: f"{w.hours:.2f}")
    return table


def _teraflop(part: str, work: Work) -> str:
    return f"{work.flops.by_part[part] / 1e12:.3f}"


def _table(plan: Plan, title: str) -> Table:
    """Columns for the three kinds of step; how the recipe itself trains is marked."""
    table = Table(title)
    headings = ["training", "recomputing", "answering"]
    headings[int(plan.checkpointing)] += " *"
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _row(table: Table, plan: Plan, name: str, show: Callable[[Work], str]) -> None:
    kinds = (plan.training, plan.training_checkpointed, plan.answering)
    table.add_row(name, *(show(work) for work in kinds))


def _assumptions(plan: Plan) -> str:
    return "\n".join(_sentences(plan))


def _sentences(plan: Plan) -> Iterator[str]:
    assumed, texts = plan.assumptions, plan.assumptions.lengths
    yield "* as the recipe trains; recomputing: with model.gradient_checkpointing."
    yield (
        f"Assumed: {assumed.device} in {assumed.precision}; texts of {texts.record} (record), "
        f"{texts.question_answer} (question and answer), {texts.prompt} (prompt with its prefix) "
        f"and {texts.answer} (answer) tokens; {_scans(texts.prefixes)} in a prompt; "
        "no patch left out as background; "
        f"{assumed.fragmentation:.0%} of the tensors' bytes lost between them; "
        f"{assumed.tflops:g} TFLOP/s at {assumed.utilisation:.0%} utilisation."
    )


def _scans(count: int) -> str:
    return "1 scan" if count == 1 else f"{count} scans"


def scaling_table(scalings: Sequence[Scaling]) -> Table:
    """A step on clusters: plain data parallelism, and with the frozen towers sharded."""
    table = Table("a step on many GPUs, in ms")
    for scaling in scalings:
        how = "towers sharded" if scaling.sharded else "towers whole"
        table.add_column(f"{scaling.cluster.processes} GPUs, {how}", justify="right")
    for name in ("compute", "gradients", "features", "towers"):
        table.add_row(name, *(f"{getattr(s, name) * 1e3:.1f}" for s in scalings))
    table.add_section()
    table.add_row("in all", *(_range(s.step, 1e3, ".0f") for s in scalings))
    table.add_row("samples/s", *(_range(s.samples_per_second, 1, ".0f") for s in scalings))
    table.add_row("efficiency", *(_range(s.efficiency, 1, ".0%") for s in scalings))
    table.add_row("hours an epoch", *(_range(s.hours, 1, ".3f") for s in scalings))
    return table


def _range(values: Range, factor: float, form: str) -> str:
    return f"{values.low * factor:{form}} to {values.high * factor:{form}}"


__all__ = ["plan_tables", "scaling_table"]
