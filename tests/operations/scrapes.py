"""What `/metrics` of a service tells, for tests."""

from collections.abc import Iterable
from typing import Any

import urllib3
from prometheus_client.parser import text_string_to_metric_families


def families(url: str) -> dict[str, Any]:
    """The metrics by their names, as docs/observing.md has them."""
    # By a connection of its own: of several processes, any may answer.
    answer = urllib3.request("GET", f"{url}/metrics", headers={"connection": "close"}, timeout=10)
    assert answer.status == 200
    found = {}
    for family in text_string_to_metric_families(answer.data.decode()):
        if not family.name.endswith("_created"):
            found[family.name + ("_total" if family.type == "counter" else "")] = family
    return found


def value(url: str, name: str, **labels: str) -> float:
    """The sum of the samples of a name that have some labels."""
    return total(families(url).values(), name, **labels)


def total(found: Iterable[Any], name: str, **labels: str) -> float:
    samples = (sample for family in found for sample in family.samples)
    values = (
        float(sample.value)
        for sample in samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
    return sum(values)


def labels_of(url: str, name: str) -> list[dict[str, str]]:
    """The labels of the samples of a name."""
    found = families(url).get(name)
    return [] if found is None else [sample.labels for sample in found.samples]
