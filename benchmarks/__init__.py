"""How fast `dispatch_grpc` is, beside the raw stubs and beside dispatch-py.

`python -m benchmarks` measures and prints the report. The other modules are its processes:
`servers` answers, `ours` and `peer` measure the clients; `endpoint` and `peer_endpoint` run
functions, `load` measures how fast. dispatch-py owns the same top-level package as the stubs, so
`peer` and `peer_endpoint` run in a virtual environment of their own, and import nothing of ours.
"""
