"""Benchmarks, one file each, so that one runs where the packages that others need are missing."""
