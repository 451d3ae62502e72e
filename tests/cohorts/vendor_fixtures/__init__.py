"""Raw downloads in miniature, one module a cohort; invented people only."""
