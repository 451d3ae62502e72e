"""The sentence that stands on every surface that shows an answer."""

RESEARCH_USE = (
    "Research software, not a medical device: "
    "do not use this answer for diagnosis, treatment or any clinical decision."
)

SIMULATED_DATA = (
    "Simulated data (SIM-): made from a brain template with simulated atrophy and records. "
    "These numbers say nothing about patients."
)
