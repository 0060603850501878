"""Diagnostics of the fields: wind, moisture, warm cores, and what lies around a point."""
