"""Heuristic class maps: tropical cyclones and atmospheric rivers by published rules."""
