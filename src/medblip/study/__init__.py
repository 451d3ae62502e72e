"""Many subjects: the tables of a study, its labels, record texts, splits and audit."""
