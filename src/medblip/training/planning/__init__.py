"""What a recipe needs, known before any of it is allocated."""

from medblip.training.planning.batch import TextLengths
from medblip.training.planning.planner import plan
from medblip.training.planning.results import Plan
from medblip.training.planning.showing import plan_tables
from medblip.training.planning.sizes import parse_bytes, show_bytes

__all__ = ["Plan", "TextLengths", "parse_bytes", "plan", "plan_tables", "show_bytes"]
