"""Processes and what they share. The only folder that imports torch.distributed."""
