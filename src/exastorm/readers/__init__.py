"""Archives in, one schema out."""
