"""Who takes part in a run: what the launcher told, who shares a machine, where all meet."""
