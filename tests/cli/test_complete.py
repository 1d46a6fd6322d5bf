"""`dispatch-grpc complete`: a call is finished from outside."""

import json

import pytest

from dispatch_grpc import CallError, Client, new_call
from tests.cli.test_cli import Done, says
from tests.cli.test_cli_service import run_on
from tests.conftest import RunningService


def complete(service: RunningService, *arguments: str) -> Done:
    return run_on(service, "complete", *arguments)


def test_completing_calls(service: RunningService):
    with Client(service.api_key, api_url=service.url) as client:
        first, second = (client.dispatch(new_call("http://127.0.0.1:9", "f")) for _ in range(2))
        assert complete(service, first, '{"seats": [3, 4]}') == (0, "completed the call\n", "")
        assert client.wait(first) == {"seats": [3, 4]}
        done = complete(service, second, "--error", "full", "--error-type", "Sold", "--json")
        assert json.loads(done.out) == {"dispatch_id": second}
        with pytest.raises(CallError, match="full") as caught:
            client.wait(second)
        assert caught.value.type == "Sold"
    says(complete(service, first, "1"), 1, f"the call {first} has finished already, with another")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of JSON and --error is required, and not both"),
        (["1", "--error", "no"], "one of JSON and --error is required, and not both"),
        (["1", "--error-type", "No"], "--error-type needs --error"),
        (["{"], "JSON: not valid JSON"),
        (["99999999999999999999"], "JSON: "),
    ],
)
def test_mistakes(service: RunningService, arguments: list[str], message: str):
    says(complete(service, "id", *arguments), 2, message)


def test_an_unknown_call(service: RunningService):
    says(complete(service, "x", "1"), 1, f"{service.url} has no call 'x'", "[NOT_FOUND]")
