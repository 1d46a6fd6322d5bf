"""A Dispatch service that records calls and prints what it received, until its input ends."""

import os
import sys

from dispatch_grpc import unmarshal
from dispatch_grpc.testing import CallRecorder, serve

recorder = CallRecorder()
with serve(recorder, api_key=os.environ["DISPATCH_API_KEY"]) as server:
    print(server.url, flush=True)
    sys.stdin.read()

for number, request in enumerate(recorder.requests, 1):
    agent = request.metadata.get("user-agent", "?").split("/")[0]
    print(f"  request {number} ({agent}):")
    for call, dispatch_id in zip(request.calls, request.dispatch_ids, strict=True):
        value = unmarshal(call.input)
        print(f"    {dispatch_id}  {call.function}({value!r}) on {call.endpoint}")
