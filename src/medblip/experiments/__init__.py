"""The paper's tables, run again: their numbers, ours beside them, and what follows."""
