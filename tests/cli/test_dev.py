"""`dispatch-grpc dev`: a real service, a real endpoint, and real changes of its source."""

import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dispatch_grpc import CallError, Client, new_call
from tests.cli.test_cli import says
from tests.cli.test_cli_service import COMMAND, SECONDS, run, variables
from tests.hostile import unused_port
from tests.waiting import until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM to be caught")

APP = """
import os, sys
from dispatch_grpc import Endpoint, PermanentError

print("started with", *sorted(name for name in os.environ if name.startswith("DISPATCH_")))
endpoint = Endpoint()

@endpoint.function
def greet(name: str) -> str:
    if name == "nobody":
        raise PermanentError("nobody is here")
    return f"Hello, {name}!"

@endpoint.function
def slow() -> None:
    import time
    time.sleep(60)

if __name__ == "__main__":
    endpoint.serve()
    print("ended in order")
"""


class Developing:
    """A process of `dispatch-grpc dev`."""

    def __init__(self, folder: Path, *command: str) -> None:
        self.folder = folder
        self.endpoint = f"http://127.0.0.1:{unused_port()}"
        self._shown = folder / "shown"
        options = ["--port", "0", "--data-dir", str(folder / "data")]
        options += ["--endpoint-url", self.endpoint]
        with self._shown.open("wb") as shown:
            self.process = subprocess.Popen(
                [*COMMAND, "dev", *options, "--", *command],
                cwd=folder,
                env=variables(),
                stdout=shown,
                stderr=subprocess.STDOUT,
            )

    @property
    def shown(self) -> str:
        return self._shown.read_text()

    def until(self, condition: Callable[[], object]) -> None:
        def holds() -> object:
            found = condition()
            assert found or self.process.poll() is None, self.shown
            return found

        until(holds, SECONDS, problem=lambda: self.shown)

    @property
    def url(self) -> str:
        self.until(lambda: "In other terminals: " in self.shown)
        (url,) = re.findall(r"^service:  (\S+) ", self.shown, re.MULTILINE)
        return str(url)

    def client(self) -> Client:
        url = self.url  # once it is printed, the key is kept
        key = (self.folder / "data" / "api-key").read_text().strip()
        return Client(key, api_url=url, timeout=SECONDS, env={})

    def stop(self, sign: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(sign)
        return self.process.wait(SECONDS)


@contextmanager
def develop(*command: str, app: str = APP) -> Iterator[Developing]:
    with tempfile.TemporaryDirectory(prefix="dispatch-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "app.py").write_text(app)
        developing = Developing(folder, *command)
        try:
            yield developing
        finally:
            if developing.process.poll() is None:
                developing.process.terminate()
                developing.process.wait(SECONDS)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_one_command_has_everything(sign: signal.Signals):
    with develop(sys.executable, "app.py") as dev:
        with dev.client() as client:
            ok = client.dispatch(new_call(dev.endpoint, "greet", "Ada"))
            assert client.wait(ok, str) == "Hello, Ada!"
            failed = client.dispatch(new_call(dev.endpoint, "greet", "nobody"))
            with pytest.raises(CallError, match="nobody is here"):
                client.wait(failed)
        when = r"^\d\d:\d\d:\d\d  "
        took = r"  [\d.]+ (?:ms|s)  "
        lines = (
            rf"{when}ok  greet{took}{ok}$",
            rf"{when}permanent_error  greet{took}{failed}  \S+: nobody is here$",
        )
        dev.until(lambda: all(re.search(line, dev.shown, re.MULTILINE) for line in lines))
        assert dev.stop(sign) == 0
        shown = dev.shown
        assert "\x1b" not in shown
        assert "dispatch_grpc/cli" not in shown  # as a traceback would have it
        assert shown.endswith("ended in order\n")
        names = ["API_KEY", "API_URL", "ENDPOINT_ADDR", "ENDPOINT_URL", "VERIFICATION_KEY"]
        given = " ".join(f"DISPATCH_{name}" for name in names)
        assert shown.count(f"started with {given}\n") == 1
        assert not (dev.folder / "data" / "postgres" / "postmaster.pid").exists()


def test_requests_are_signed():
    """The endpoint has the verification key, and refuses what others send."""
    with develop(sys.executable, "app.py") as dev:
        with dev.client() as client:
            client.wait(client.dispatch(new_call(dev.endpoint, "greet", "Ada")))
        request = urllib.request.Request(
            f"{dev.endpoint}/dispatch.sdk.v1.FunctionService/Run",
            b"",
            {"content-type": "application/proto"},
        )
        with pytest.raises(urllib.error.HTTPError, match="401") as caught:
            urllib.request.urlopen(request, timeout=SECONDS)
        caught.value.close()


def test_a_change_starts_the_endpoint_again():
    with develop(sys.executable, "app.py") as dev:
        with dev.client() as client:
            assert (
                client.wait(client.dispatch(new_call(dev.endpoint, "greet", "Ada")))
                == "Hello, Ada!"
            )
            (dev.folder / ".hidden").mkdir()
            (dev.folder / ".hidden" / "app.py").write_text("")  # no source of this project
            (dev.folder / "app.py").write_text(APP.replace("Hello", "Good morning"))
            dev.until(lambda: dev.shown.count("started with") == 2)
            id = client.dispatch(new_call(dev.endpoint, "greet", "Ada"))
            assert client.wait(id) == "Good morning, Ada!"
        assert "dispatch-grpc: app.py has changed: the endpoint starts again" in dev.shown
        assert dev.shown.count("has changed") == 1
        assert dev.stop() == 0


def test_an_endpoint_that_dies_starts_again_after_a_change():
    with develop(
        sys.executable, "app.py", app=f"{APP}\n1 / 0\n".replace("endpoint.serve()", "")
    ) as dev:
        with dev.client() as client:
            id = client.dispatch(new_call(dev.endpoint, "greet", "Ada"))
            told = "the endpoint ended with the exit code 1; it starts again when a source file"
            dev.until(lambda: told in dev.shown)
            (dev.folder / "app.py").write_text(APP)
            assert client.wait(id) == "Hello, Ada!"
            attempts = re.findall(rf"  queued  greet  .*{id}  TCP_ERROR", dev.shown)
            assert attempts or "ok  greet" in dev.shown
        assert dev.stop() == 0


def test_an_endpoint_that_is_killed_is_told():
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with develop(sys.executable, "-c", code) as dev:
        dev.until(lambda: "the endpoint ended by SIGKILL; it starts again when" in dev.shown)
        assert dev.stop() == 0


def test_what_an_endpoint_that_ended_has_left_is_killed(tmp_path: Path):
    with develop(sys.executable, "-c", leaving_a_child(tmp_path)) as dev:
        dev.until(lambda: "the endpoint ended with the exit code 0" in dev.shown)
        until(lambda: has_ended(tmp_path))
        assert dev.stop() == 0


def test_an_endpoint_that_does_not_end_is_killed_with_its_children(tmp_path: Path):
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    code = f"{deaf}{leaving_a_child(tmp_path)}import time; time.sleep(600)\n"
    with develop(sys.executable, "-c", code) as dev:
        dev.client().close()
        dev.until((tmp_path / "pid").exists)
        assert dev.stop() == 0
        until(lambda: has_ended(tmp_path))


def leaving_a_child(folder: Path) -> str:
    """The code of an endpoint that starts a process, and writes its id to a file."""
    return (
        "import os, subprocess\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        f"open({str(folder / 'new')!r}, 'w').write(str(child.pid))\n"
        f"os.rename({str(folder / 'new')!r}, {str(folder / 'pid')!r})\n"
    )


def has_ended(folder: Path) -> bool:
    """Whether the child has ended; what is a zombie has."""
    try:
        state = Path("/proc", (folder / "pid").read_text(), "stat").read_text()
    except OSError:
        return True
    return state.rpartition(")")[2].split()[0] == "Z"


def test_a_second_signal_ends_it_immediately():
    with develop(sys.executable, "app.py") as dev:
        with dev.client() as client:
            client.wait(client.dispatch(new_call(dev.endpoint, "greet", "Ada")))
            id = client.dispatch(new_call(dev.endpoint, "slow"))
        line = rf"  running  slow  .*  {id}$"
        dev.until(lambda: re.search(line, dev.shown, re.MULTILINE))
        dev.process.send_signal(signal.SIGINT)
        dev.until(lambda: not is_ready(dev.url))  # the signal has been heeded
        assert dev.stop() == 130
        assert not answers(dev.endpoint)


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=SECONDS) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except (urllib.error.URLError, ConnectionError):  # but for a service that is slow to answer
        return False


def answers(url: str) -> bool:
    host, _, port = url.removeprefix("http://").partition(":")
    try:
        socket.create_connection((host, int(port)), 5).close()
    except OSError:
        return False
    return True


def test_what_cannot_be_started():
    says(run("dev"), 2, "Missing argument '-- COMMAND...'")
    says(run("dev", "--", "no-such-program"), 2, "COMMAND: there is no program 'no-such-program'")
    done = run("dev", "--endpoint-url", "example.com", "--", "true")
    says(done, 2, "a URI (RFC 3986) that begins with http://")


def test_the_example_of_its_help_runs():
    script = shutil.which("dispatch-grpc", path=str(Path(sys.executable).parent))
    assert script is not None
    with develop(script, "run", "app:endpoint") as dev:
        with dev.client() as client:
            assert (
                client.wait(client.dispatch(new_call(dev.endpoint, "greet", "Ada")))
                == "Hello, Ada!"
            )
        assert dev.stop() == 0
