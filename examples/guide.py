"""The guide 'calling remote functions', against a Dispatch service on this machine.

The service is the recorder of the test kit, in a process of its own. The same calls are
dispatched by gRPC and by Connect.
"""

import os
import subprocess
import sys
from pathlib import Path

from dispatch_grpc import Client, marshal, new_call

KEY = "a-key-for-this-example"

service = subprocess.Popen(
    [sys.executable, str(Path(__file__).with_name("recorder.py"))],
    env={**os.environ, "DISPATCH_API_KEY": KEY},
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
)
try:
    assert service.stdout is not None
    url = service.stdout.readline().strip()
    print(f"A Dispatch service listens on {url}\n")
    for protocol in ("grpc", "connect"):
        input = marshal(23)
        call = new_call("http://example.com", "myFunction", input)
        with Client(KEY, api_url=url, protocol=protocol) as client:
            dispatch_id = client.dispatch(call)
            print(f"{protocol}: dispatched a call: {dispatch_id}")

            batch = client.batch()
            batch.add(new_call("http://example.com", "greet", {"name": "Ada"}))
            batch.add(new_call("http://example.com", "greet", {"name": "Grace"}))
            print(f"{protocol}: dispatched a batch: {', '.join(batch.dispatch())}\n")
    print("What the service received:")
    print(service.communicate(timeout=10)[0], end="")
finally:
    service.kill()
    service.wait()
sys.exit(service.returncode)
