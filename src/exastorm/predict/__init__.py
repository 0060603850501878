"""Apply a trained network to an archive and write class maps."""
