"""The alert rules, parsed and evaluated by Prometheus's own packages."""

from pathlib import Path

import pytest

from tests.polyglot.conftest import require
from tests.polyglot.languages import run

pytestmark = pytest.mark.timeout(600)


def test_the_alerts_are_of_the_troubles_that_they_name():
    require("go")
    run("go", "test", "./...", cwd=Path(__file__).parent / "rules")
