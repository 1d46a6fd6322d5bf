"""How fast `dispatch_grpc` is, beside the raw stubs and beside dispatch-py.

`python -m benchmarks` measures and prints the report. The other modules are its processes:
`servers` answers, `ours` and `peer` measure. dispatch-py owns the same top-level package as
the stubs, so `peer` runs in a virtual environment of its own, and imports nothing of ours.
"""
