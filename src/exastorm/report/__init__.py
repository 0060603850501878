"""Figures, maps and the page of a run, from class maps and tables; nothing is downloaded."""
