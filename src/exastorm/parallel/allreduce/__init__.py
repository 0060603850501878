"""Sums of buffers over all ranks: in one ring, or in two levels, inside nodes and across them."""
