"""The control plane: what all ranks agree on, over a tree of light connections beside the step."""
