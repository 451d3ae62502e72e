"""What stands beside the tables: how the full model's answers hold up, from what its runs kept."""
