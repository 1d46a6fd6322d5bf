"""Benchmarks of the durable service: see `__main__`."""
