"""Training, validation and scores of the networks."""
