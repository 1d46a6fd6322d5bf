"""The languages of `make test-polyglot`, and the service for each test.

`POLYGLOT_LANGS` holds the languages, whose toolchains must then be there. Without it, as in
`make test`, every test here is skipped, with the reason.
"""

import os
import re
from collections.abc import Iterator

import pytest

from tests.polyglot import service as services
from tests.polyglot.languages import BUILD, Programs
from tools.generate import choose
from tools.languages import LANGUAGES, GenerationError


def wanted() -> list[str] | None:
    """The languages to test; None outside `make test-polyglot`."""
    words = os.environ.get("POLYGLOT_LANGS")
    if words is None:
        return None
    try:
        return [language.name for language in choose(re.split(r"[\s,]+", words.strip()))]
    except GenerationError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_configure() -> None:
    wanted()


def require(language: str) -> None:
    """Skip the test unless it was asked for in this language."""
    languages = wanted()
    if languages is None:
        try:
            LANGUAGES[language].check_toolchain()
        except GenerationError as error:
            pytest.skip(f"{language}: {error}")
        pytest.skip(f"{language}: `make test-polyglot` runs these")
    if language not in languages:
        pytest.skip(f"{language} is not in LANGS")


@pytest.fixture(scope="session")
def programs(request: pytest.FixtureRequest) -> Programs:
    """The example of a language, built."""
    require(request.param)
    return BUILD[request.param]()


@pytest.fixture
def service() -> Iterator[services.Service]:
    """The service, without any requests."""
    with services.start() as service:
        yield service
