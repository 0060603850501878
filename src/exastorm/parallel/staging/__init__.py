"""Files to where they are used: each read once from the shared store, then passed on by nodes."""
