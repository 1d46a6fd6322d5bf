"""dispatch-py's endpoint, as `dispatch-grpc conformance` sees it: `make test-peers`."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from dispatch_grpc.endpoint.keys import new_key_pair, parse_signing_key
from dispatch_grpc.testing.conformance import Result, conformance
from tests import hostile

PYTHON = os.environ.get("PEER_PYTHON", "")
pytestmark = pytest.mark.skipif(not PYTHON, reason="`make test-peers` runs these")
PROGRAM = Path(__file__).with_name("conformance_endpoint.py")

# docs/polyglot.md names these.
KNOWN = {
    "values: (none|message of python)": "STATUS_OK without exit.result.output",
    "values: uint64 ": "^Pickled",
    "values: datetime (just )?before 1970": "^Timestamp",
    "values: datetime greatest": "^HTTP 500",
    "values: timedelta negative": "^Duration",
    "errors: (a function that fails|an input of another type)": "^HTTP 500 .*fatal error",
    "limits: an input of 4 MB": "^HTTP 413",
    "limits: (a malformed body|another content type|JSON)": "^HTTP 500",
    "limits: a body in chunks": "content length is required",
    "replays: ": "^HTTP 500",
    "signatures: a right one, beside one of another label": "Multiple signatures",
    "signatures: (none|only its input|a malformed one|one without a time)": "^HTTP 403",
    "signatures: one of another label only": "^STATUS_OK",
    "signatures: one (from 10 minutes ahead|that has expired)": "^HTTP 403 .*not an error",
    "signatures: one (that does not cover|of another keyid)": "^HTTP 401",
}


def test_what_its_endpoint_fails():
    pair, port = new_key_pair(), hostile.unused_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DISPATCH_")}
    with subprocess.Popen(
        [PYTHON, str(PROGRAM), str(port), pair.verification_key],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            key = parse_signing_key(pair.signing_key)
            outcomes = list(conformance(f"http://127.0.0.1:{port}", signing_key=key))
        finally:
            process.kill()
    failed = {one.check: one.got for one in outcomes if one.result is Result.FAILED}
    unknown = [
        f"{check}: {got}"
        for check, got in failed.items()
        if not any(re.match(pattern, check) for pattern in KNOWN)
    ]
    assert unknown == []
    for pattern, got in KNOWN.items():
        matching = [failed[check] for check in failed if re.match(pattern, check)]
        assert matching, f"{pattern} is passed"
        assert all(re.search(got, text) for text in matching), matching
