"""Benchmarks, each against a limit that was measured in the same run."""
