"""A made-up CAM-like climate with known storms, for tests, demos and benchmarks."""
