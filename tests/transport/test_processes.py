"""Forks, fresh interpreters, and what an import costs."""

import os
import shutil
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dispatch_grpc.testing import CallRecorder, serve
from tests import hostile
from tests.conftest import KEY, PROTOCOLS


def python(code: str, *arguments: str, **env: str) -> str:
    """Run code in a fresh interpreter, with warnings as errors, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


FORK = """
    import os, sys, warnings
    warnings.simplefilter("ignore", DeprecationWarning)  # Python's own, about fork and threads
    from dispatch_grpc import Client, new_call
    url, protocol, used = sys.argv[1:]
    call = new_call("http://example.com", "f")
    client = Client(os.environ["KEY"], api_url=url, protocol=protocol, retry=None)
    if used == "used":
        client.dispatch(call)
    children = []
    for _ in range(10):
        pid = os.fork()
        if pid == 0:
            try:
                for _ in range(3):
                    client.dispatch(call)
                client.batch().dispatch()
                client.close()
            except BaseException as error:
                print(repr(error), error, file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        children.append(pid)
    client.dispatch(call)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    client.dispatch(call)
    client.close()
    sys.exit(max(map(abs, codes)))
"""


@pytest.mark.parametrize("used", ["used", "not used"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_forked_child_opens_its_own_connection(
    protocol: str, used: str, dispatch_recorder: CallRecorder
):
    with serve(dispatch_recorder, api_key=KEY) as server:
        python(FORK, server.url, protocol, used, KEY=KEY)
    assert len(dispatch_recorder.requests) == 32 + (used == "used")


@pytest.mark.parametrize("protocol", ["connect", "connect+json"])
def test_connect_in_a_forked_child(protocol: str, dispatch_recorder: CallRecorder):
    """Connections belong to the process: a child has the same errors, deadlines and retries."""
    code = """
        import os, sys, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from datetime import timedelta
        from dispatch_grpc import *
        good, bad, hanging, dripping, protocol = sys.argv[1:]
        call = new_call("http://example.com", "f")
        def client(url, key="right"):
            return Client(key, api_url=url, protocol=protocol, timeout=timedelta(seconds=1))
        client(good).dispatch(call)
        pid = os.fork()
        if pid == 0:
            try:
                print(len(client(good).dispatch(call)))
                for one in (client(good, "wrong"), client(bad), client(hanging), client(dripping)):
                    try:
                        one.dispatch(call)
                    except DispatchError as error:
                        print(type(error).__name__)
                async def main():
                    async with AsyncClient("right", api_url=good, protocol=protocol) as client:
                        print(len(await client.dispatch(call)))
                import asyncio
                asyncio.run(main())
            finally:
                sys.stdout.flush()
                os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    """
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/proto\r\ncontent-length: 99\r\n\r\n"
    refused = f"http://127.0.0.1:{hostile.unused_port()}"
    with (
        serve(dispatch_recorder, api_key="right") as server,
        hostile.serving(hostile.hangs) as hanging,
        hostile.raw(head, drip=True) as (dripping, _),
    ):
        lines = python(code, server.url, refused, hanging.url, dripping, protocol).splitlines()
    timed_out = "DeadlineExceededError"
    failed = ["AuthenticationError", "UnavailableError", timed_out, timed_out]
    assert lines == ["36", *failed, "36"]


def test_a_channel_of_the_caller_is_not_used_after_a_fork(dispatch_recorder: CallRecorder):
    code = """
        import os, sys, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        import grpc
        from dispatch_grpc import Client, ClientStateError, new_call
        channel = grpc.insecure_channel(sys.argv[1].removeprefix("http://"))
        client = Client("key", api_url=sys.argv[1], channel=channel)
        pid = os.fork()
        if pid == 0:
            try:
                client.dispatch(new_call("http://example.com", "f"))
            except ClientStateError as error:
                print(error, flush=True)
            client.close()
            os._exit(0)
        os.waitpid(pid, 0)
    """
    with serve(dispatch_recorder) as server:
        assert "make another client after a fork" in python(code, server.url)
    assert not dispatch_recorder.requests


def test_an_import_brings_only_what_a_grpc_client_needs():
    code = """
        import sys, dispatch_grpc
        others = {"connectrpc", "pyqwest", "pgqueuer", "zttp", "msgspec", "urllib3", "aiohttp"}
        assert not others & set(sys.modules)
        dispatch_grpc.Client("key")
        dispatch_grpc.unmarshal(dispatch_grpc.marshal({"a": [1, 2.5, "x", None]}))
        assert not others & set(sys.modules)
    """
    python(code)


def test_a_connect_client_brings_the_one_library_that_it_needs():
    code = """
        import sys, dispatch_grpc
        libraries = {"urllib3", "aiohttp", "pyqwest"}
        dispatch_grpc.Client("key", protocol="connect")
        assert libraries & set(sys.modules) == {"urllib3"}
        del sys.modules["urllib3"]
        dispatch_grpc.AsyncClient("key", protocol="connect")
        assert libraries & set(sys.modules) == {"aiohttp"}
    """
    python(code)


def test_nothing_is_read_from_the_environment_at_import():
    python("import dispatch_grpc", DISPATCH_API_URL="no url", DISPATCH_PROTOCOL="none")


@pytest.mark.parametrize(
    ("missing", "code", "extra"),
    [
        ("urllib3", "Client('k', protocol='connect')", "connect"),
        ("aiohttp", "AsyncClient('k', protocol='connect+json')", "connect"),
        ("zttp", "from dispatch_grpc.testing import serve", "endpoint"),
        ("connectrpc", "import dispatch_grpc.server", "endpoint"),
    ],
)
def test_a_missing_extra_is_named(missing: str, code: str, extra: str):
    shown = python(
        f"""
        import sys
        sys.modules[{missing!r}] = None
        from dispatch_grpc import AsyncClient, Client
        try:
            {code}
        except ImportError as error:
            print(error)
        """
    )
    assert f"pip install 'dispatch-grpc[{extra}]'" in shown


def test_a_name_server_that_does_not_answer(tmp_path: Path):
    """The C library's lookup takes no time limit; a call of the sync Connect client keeps its own.

    A process of its own gets another resolv.conf, which names a socket that is silent.
    """
    if not (sys.platform == "linux" and os.geteuid() == 0 and shutil.which("unshare")):
        pytest.skip("only root on Linux can give a process another resolv.conf")
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.99\noptions timeout:30 attempts:1\n")
    code = """
        import os, time
        from datetime import timedelta
        from dispatch_grpc import *
        url, limit = "https://service.example.com", timedelta(seconds=1)
        client = Client("key", api_url=url, protocol="connect", env={}, timeout=limit)
        start = time.monotonic()
        try:
            client.dispatch(new_call("http://example.com", "f"))
        except DeadlineExceededError:
            print("in time" if time.monotonic() - start < 10 else "late")
    """
    mount = f"mount --bind {tmp_path}/resolv.conf /etc/resolv.conf"
    unshare = ["unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "sh"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.99", 53))
        done = subprocess.run(
            [*unshare, sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        if "mount" in done.stderr or "unshare" in done.stderr:
            pytest.skip(f"not allowed here: {done.stderr}")
        silent.settimeout(1)
        assert silent.recv(1000)  # it was asked
    assert (done.stdout, done.stderr) == ("in time\n", "")
