"""``experiments.html``: the paper's tables with our numbers, and what follows, on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from medblip import notice, storage
from medblip.evaluation import verdicts
from medblip.evaluation.report import png_uri
from medblip.evaluation.subgroups import FEWEST_SUBJECTS
from medblip.experiments import table_text
from medblip.experiments.aggregate import ResultTable
from medblip.experiments.analyses.part import Part
from medblip.experiments.claim_verdicts import Answer, ClaimVerdict

TONES: dict[Answer, verdicts.Tone] = {
    "holds": "for",
    "does not hold": "against",
    "not decided": "open",
}


@dataclass(frozen=True)
class ExperimentsPage:
    """Everything on the page.

    Attributes:
        title: e.g. ``The paper's experiments on simulated replicas``.
        created: date, ISO 8601.
        commands: shell lines that make this page again, in order.
        facts: name -> value: versions, device, hours, recipe size.
        simulated: puts up the simulated-data banner.
        tables, claims: as aggregated.
        control_titles: row key -> title.
        parts: analyses beside the tables.
        means_nothing: put up as a banner; see `medblip.experiments.matrix.Size`.
    """

    title: str
    created: str
    commands: Sequence[str]
    facts: Mapping[str, str]
    simulated: bool
    tables: Sequence[ResultTable]
    claims: Sequence[ClaimVerdict]
    control_titles: Mapping[str, str]
    means_nothing: str = ""
    parts: Sequence[Part] = ()


def write_page(path: Path, page: ExperimentsPage) -> Path:
    """Write the page atomically; the same content gives the same bytes. Returns ``path``."""
    storage.write_text(path, render_page(page))
    return path


def render_page(page: ExperimentsPage) -> str:
    """The page as HTML text, which loads nothing from anywhere."""
    environment = Environment(
        # The style is the report's.
        loader=ChoiceLoader(
            [PackageLoader("medblip.experiments"), PackageLoader("medblip.evaluation")]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": verdicts.percent,
        "span": verdicts.span,
        "points": verdicts.points,
        "p_value": verdicts.p_value,
        "seeds": table_text.seeds_run,
        "png_uri": png_uri,
    }
    return environment.get_template("experiments.html.jinja").render(
        page=page,
        tones=TONES,
        fewest_subjects=FEWEST_SUBJECTS,
        research_use=notice.RESEARCH_USE,
        simulated_data=notice.SIMULATED_DATA,
    )
