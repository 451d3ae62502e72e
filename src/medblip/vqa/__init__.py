"""Questions about scans: their files, the readers of public sets, simulated ones, and scoring."""
