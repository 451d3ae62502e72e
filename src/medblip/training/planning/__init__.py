"""What a recipe needs, known before any of it is allocated."""

from medblip.training.planning.batch import TextLengths
from medblip.training.planning.planner import plan
from medblip.training.planning.results import Plan
from medblip.training.planning.scaling import Cluster, scale
from medblip.training.planning.showing import plan_tables, scaling_table
from medblip.training.planning.sizes import parse_bytes, show_bytes

__all__ = [
    "Cluster",
    "Plan",
    "TextLengths",
    "parse_bytes",
    "plan",
    "plan_tables",
    "scale",
    "scaling_table",
    "show_bytes",
]
