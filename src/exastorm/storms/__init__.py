"""Storm analytics on any class map, ours or another's; no torch."""
