"""Applications, relays and the service are killed: every call is recorded once, and no other."""

import asyncio
from pathlib import Path

import pytest

from tests.producers.kills import run


@pytest.mark.timeout(300)
def test_nothing_is_lost_or_recorded_twice_whatever_is_killed(folder: Path):
    reports = asyncio.run(run(folder, seed=12, kills=24))
    for report in reports.values():
        assert report.orders > 20
        assert (report.lost, report.twice, report.rolled_back) == (0, 0, 0)
