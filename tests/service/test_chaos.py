"""A short run of `chaos`, and what it is made of."""

import asyncio
from typing import Any

from tests.conftest import data_dir
from tests.service.chaos import Chaos
from tests.service.chaos_plan import FAULTS, plan


def test_a_seed_stands_for_its_faults():
    found = plan(1, 3600, 2)
    assert found == plan(1, 3600, 2) != plan(2, 3600, 2)
    assert {fault.kind for fault in found} == set(FAULTS)


def test_nothing_is_lost_whatever_fails(record_property: Any):
    with data_dir() as folder:
        folder.chmod(0o755)
        chaos = Chaos(folder, seed=7, seconds=40, calls=1000, interval=1.5)
        report = asyncio.run(chaos.run())
    for name, value in report.figures.items():
        record_property(name, value)
    assert report.is_good, str(report)
