"""Tropical cyclones: rule sets, their tracks, and the extent of a storm."""
