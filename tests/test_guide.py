"""`make run`: the example of the guide, from end to end."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def guide(**variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "examples/guide.py"],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=110,
    )


def test_the_example_waits_for_results_by_both_protocols():
    done = guide()
    assert done.returncode == 0, done.stderr
    for protocol in ("grpc", "connect"):
        assert f"{protocol}: its result: Hello, World!\n" in done.stdout
        assert f"{protocol}: its results: ['Hello, Ada!', 14, 'Hello, Grace!']\n" in done.stdout


def test_a_service_that_does_not_come_up_is_told_by_its_own_error():
    done = guide(DISPATCH_DATABASE_URL="postgresql://127.0.0.1:1/none")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(
        "dispatch-grpc: the database cannot be used: .* on 127.0.0.1:1 .*nothing listens there",
        done.stderr,
    )
    assert "Traceback" not in done.stderr
