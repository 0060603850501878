"""Atmospheric rivers: rule sets, and the measures of their shape."""
