"""`dispatch-grpc schedules`, and schedules on the page and in the metrics of the service."""

import json
import re
import socket
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from dispatch_grpc import Client, cli, new_call
from tests.cli.test_cli import Done
from tests.conftest import RunningService
from tests.waiting import until

Run = Callable[..., Done]


@pytest.fixture
def run(
    served: RunningService, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Run a command of `schedules`."""
    monkeypatch.setenv("DISPATCH_API_URL", served.url)
    monkeypatch.setenv("DISPATCH_API_KEY", served.api_key)

    def run(*arguments: str) -> Done:
        code = cli.main(["schedules", *arguments])
        return Done(code, *capsys.readouterr())

    yield run
    with Client(served.api_key, api_url=served.url, env={}) as client:
        for info in client.schedules.list():
            client.schedules.delete(info.name)


URL = "http://user:passw0rd@127.0.0.1:9"


def fields(text: str) -> dict[str, str]:
    return {line[:10].strip(): line[10:] for line in text.splitlines()}


def test_the_life_of_a_schedule(run: Run):
    assert run("list") == Done(0, "", "dispatch-grpc: no schedules found\n")
    done = run(
        *("create", "nightly", URL, "report", "--cron", "0 3 * * *", "--input", '{"a": 1}'),
        *("--time-zone", "Europe/Berlin", "--catch-up", "2h", "--expiration", "5m"),
    )
    assert (done.code, done.err) == (0, "")
    shown = fields(done.out)
    assert shown["name"] == "nightly"
    assert shown["endpoint"] == "http://********@127.0.0.1:9"
    assert shown["when"] == "0 3 * * * (Europe/Berlin)"
    assert (shown["overlap"], shown["catch up"], shown["fired"]) == ("skip", "2 h", "0")
    assert "paused" not in shown
    assert done.out.count("\nnext ") == 5

    done = run("update", "nightly", "--every", "90s", "--start", "2026-01-01T00:00:05Z", "--json")
    found = json.loads(done.out)
    assert (found["every"], found["start"]) == ("1m30s", "2026-01-01T00:00:05+00:00")
    assert (found["call"]["input"], found["call"]["expiration"]) == ({"a": 1}, "5m")
    done = run("update", "nightly", "--endpoint", URL, "--function", "other", "--overlap", "allow")
    shown = fields(done.out)
    assert (shown["function"], shown["overlap"], shown["when"]) == ("other", "allow", "every 90 s")
    assert "start" in shown

    shown = fields(run("pause", "nightly", "--note", "until\nMonday").out)
    assert shown["paused"] == "until Monday"
    heading, line = run("list").out.splitlines()
    assert heading.split() == ["NAME", "NEXT", "LAST", "FUNCTION", "WHEN"]
    assert line.split() == ["nightly", "paused", "-", "other", "every", "90", "s"]
    assert json.loads(run("list", "--json", "--limit", "1").out)["paused"] is True
    assert "paused" not in fields(run("resume", "nightly").out)

    id = run("trigger", "nightly").out.strip()
    other = json.loads(run("trigger", "nightly", "--json").out)["dispatch_id"]
    assert id != other
    done = run("get", "nightly")
    assert (fields(done.out)["fired"], done.out.count("\nfiring ")) == ("2", 2)
    assert id in done.out
    assert re.search(r"^nightly +(in \d+ (s|min)|now) +\S", run("list").out, re.MULTILINE)

    assert run("delete", "nightly").out == "deleted nightly\n"
    done = run("get", "nightly")
    assert (done.code, done.out) == (1, "")
    assert "there is no schedule nightly" in done.err
    run("create", "s", URL, "f", "--every", "1h")
    assert json.loads(run("delete", "s", "--json").out) == {"deleted": "s"}


def test_creating_again(run: Run, tmp_path: Path):
    (tmp_path / "input").write_text("[1, 2]")
    arguments = ["create", "s", URL, "f", "--input-file", str(tmp_path / "input")]
    assert run(*arguments, "--cron", "@daily").code == 0
    assert run(*arguments, "--cron", "@daily").code == 0
    done = run(*arguments, "--cron", "@hourly")
    assert (done.code, done.out) == (1, "")
    assert "there is a schedule s with another cron: update it instead" in done.err
    done = run("list", "--json")
    assert len(done.out.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (("create", "s", URL, "f"), 2, "one of --cron and --every is required"),
        (
            ("create", "s", URL, "f", "--cron", "@daily", "--every", "1h"),
            2,
            "one of --cron and --every is required",
        ),
        (("create", "s", URL, "1", "--every", "1h"), 2, "function: a name"),
        (("create", "s", URL, "f", "--every", "x"), 2, "a duration is required"),
        (("create", "s", URL, "f", "--every", "1h", "--start", "x"), 2, "a time such as"),
        (("create", "s", URL, "f", "--every", "1h", "--input", "{"), 2, "--input: not valid JSON"),
        (("create", "s", URL, "f", "--every", "1h", "--overlap", "x"), 2, "--overlap"),
        (("create", "s", URL, "f", "--cron", "x"), 1, "schedule.cron: five fields are required"),
        (("create", "a b", URL, "f", "--every", "1h"), 1, "name: from 1 to 200 ASCII letters"),
        (("update", "s", "--cron", "@daily", "--every", "1h"), 2, "cannot be used together"),
        (("update", "s", "--function", "f"), 2, "needs both --endpoint and --function"),
        (("update", "s", "--input", "1"), 2, "needs both --endpoint and --function"),
        (("update", "s", "--every", "1h"), 1, "there is no schedule s"),
        (("trigger", "s"), 1, "there is no schedule s"),
        (("delete", "s"), 1, "there is no schedule s"),
    ],
)
def test_what_is_refused(run: Run, arguments: tuple[str, ...], code: int, problem: str):
    done = run(*arguments)
    assert (done.code, done.out) == (code, "")
    assert problem in done.err
    assert len(done.err.splitlines()) == 1
    assert "passw0rd" not in done.err


def test_both_inputs(run: Run, tmp_path: Path):
    (tmp_path / "input").write_text("1")
    inputs = ("--input", "1", "--input-file", str(tmp_path / "input"))
    done = run("create", "s", URL, "f", "--every", "1h", *inputs)
    assert "--input and --input-file cannot be used together" in done.err


def test_a_trigger_that_had_no_answer_is_tried_again_by_its_key(run: Run):
    run("create", "s", URL, "f", "--every", "1h", "--overlap", "allow")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done = run("trigger", "s", "--api-url", url, "--timeout", "300ms")
    assert done.code == 1
    (again,) = re.findall("retry with (--idempotency-key) ([0-9a-f]{32})", done.err)
    ids = {run("trigger", "s", *again).out for _ in range(2)}
    assert len(ids) == 1
    assert fields(run("get", "s").out)["fired"] == "1"


def test_calls_of_a_schedule(run: Run, capsys: pytest.CaptureFixture[str]):
    run("create", "s", URL, "f", "--every", "1h")
    id = run("trigger", "s").out.strip()
    assert cli.main(["list", "--schedule", "s", "--limit", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schedule"] == "s"
    assert cli.main(["get", id]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^schedule +s$", shown, re.MULTILINE)
    assert re.search(r"^scheduled +20", shown, re.MULTILINE)
    cli.main(["cancel", id])


# The page and the metrics


def get(served: RunningService, path: str) -> str:
    headers = {"authorization": f"Bearer {served.api_key}"}
    request = urllib.request.Request(served.url + path, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(answer.read().decode())


def test_the_page(run: Run, served: RunningService):
    assert "There are no schedules" in get(served, "/calls/schedules")
    run("create", "nightly", URL, "report", "--cron", "0 3 * * *", "--time-zone", "Asia/Tokyo")
    run("create", "other", URL, "report", "--every", "2h")
    id = run("trigger", "nightly").out.strip()
    run("pause", "nightly", "--note", "<b>until</b>")
    run("create", "third", URL, "f", "--every", "366d", "--start", "9999-06-01")
    text = get(served, "/calls/schedules")
    section = text.partition('id="schedules"')[2].partition("</main>")[0]
    shown = " ".join(re.sub(r"<[^>]*>", " ", section).split())
    assert "nightly report 0 3 * * * (Asia/Tokyo) paused: &lt;b&gt;until&lt;/b&gt;" in shown
    assert "other report every 2 h in" in shown
    assert f'href="/calls/{id}"' in section
    assert "passw0rd" not in text
    text = " ".join(get(served, f"/calls/{id}").split())
    assert "<dt>Schedule</dt><dd>nightly, for <time" in text


def test_the_page_shows_some(run: Run, served: RunningService, monkeypatch: pytest.MonkeyPatch):
    from dispatch_grpc.service.page import views

    monkeypatch.setattr(views, "PAGE_SIZE", 2)
    for name in ("a", "b", "c"):
        run("create", name, URL, "f", "--every", "1h")
    text = get(served, "/calls/schedules")
    assert "<code>dispatch-grpc schedules list</code> prints all" in text
    assert ">c</td>" not in text


def test_the_metrics(run: Run, served: RunningService):
    def numbers() -> dict[str, float]:
        found = re.findall(
            r"^(dispatch_schedule_\S+) (\S+)$", get(served, "/metrics"), re.MULTILINE
        )
        return {name: float(value) for name, value in found}

    fired = 'dispatch_schedule_ticks_total{outcome="fired"}'
    before = numbers()
    with Client(served.api_key, api_url=served.url, env={}) as client:
        client.schedules.create("s", new_call(URL, "f"), every=timedelta(seconds=1))
        until(lambda: numbers().get('dispatch_schedule_ticks_total{outcome="skipped"}', 0) >= 1)
    after = numbers()
    assert after[fired] == before.get(fired, 0) + 1
    late = "dispatch_schedule_lateness_seconds_count"
    assert after[late] == before.get(late, 0) + 1


def test_the_example_of_the_guide(run: Run, served: RunningService):
    page = Path(__file__).parents[2] / "docs" / "schedules.md"
    code = page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    for _ in range(2):  # it may be run again
        exec(code)
    shown = run("list").out
    assert "nightly-report" in shown
    assert "every 5 min" in shown
