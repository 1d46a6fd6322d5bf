"""The dashboard and the alert rules of `deploy/`, compared with what a service tells."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.operations.test_metrics import DOCUMENTED

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus/alerts.yaml"
DASHBOARD = DEPLOY / "grafana/dispatch-grpc.json"
# Labels that Prometheus adds when it scrapes.
ADDED = {"job", "instance"}

# The queries do not depend on the versions of dependencies.
WHY = "it is in the group dev only, as the other tools for the files of deploy/"
promql_parser: Any = pytest.importorskip("promql_parser", reason=WHY)
yaml: Any = pytest.importorskip("yaml", reason=WHY)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DEPLOY.is_dir(), reason="not in the sdist"),
]


def rules() -> list[Any]:
    return [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    ]


def panels() -> list[Any]:
    found: list[Any] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def queries() -> Iterator[tuple[str, str]]:
    """The queries of the dashboard and of the alerts, each with what it is of."""
    if DEPLOY.is_dir():
        for rule in rules():
            yield rule["alert"], rule["expr"]
        for panel in panels():
            for target in panel.get("targets", ()):
                yield panel["title"], target["expr"].replace("$__rate_interval", "5m")


def selectors(node: Any) -> Iterator[Any]:
    """The selectors of metrics in a parsed query."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for name in ("expr", "lhs", "rhs", "param", "args", "vector_selector"):
        found = getattr(node, name, None)
        for inner in found if isinstance(found, list) else [found]:
            if isinstance(inner, promql_parser.Expr | promql_parser.VectorSelector):
                yield from selectors(inner)


@pytest.mark.parametrize(("title", "query"), [*queries()])
def test_a_query_is_of_metrics_and_labels_that_there_are(title: str, query: str):
    parsed = promql_parser.parse(query)
    found = list(selectors(parsed))
    assert len(found) == len(re.findall(r"\bdispatch_\w+", query)), title
    known = set(ADDED)
    for selector in found:
        name = selector.name
        if re.fullmatch(r".*_(bucket|count|sum)", name):
            name = name.rpartition("_")[0]
            assert DOCUMENTED[name][0] == "histogram"
            known.add("le")
        assert name in DOCUMENTED, title
        labels = set(filter(None, DOCUMENTED[name][1].split(", ")))
        assert {matcher.name for matcher in selector.matchers.matchers} <= labels | ADDED, title
        known |= labels
        is_counter = DOCUMENTED[name][0] != "gauge"
        rate = rf"(rate|increase)\({re.escape(selector.name)}\b"
        assert bool(re.search(rate, query)) == is_counter, title
    by = {label for text in re.findall(r"by \(([^)]*)\)", query) for label in text.split(", ")}
    assert by <= known, title


def test_each_metric_is_on_the_dashboard():
    shown = " ".join(query for _, query in queries())
    unshown = {name for name in DOCUMENTED if not re.search(rf"{name}(_bucket)?\b", shown)}
    assert unshown == {"dispatch_calls_counted_timestamp_seconds"}  # of the page


def test_the_legends_name_labels_of_their_queries():
    for panel in panels():
        for target in panel.get("targets", ()):
            by = {
                label
                for text in re.findall(r"by \(([^)]*)\)", target["expr"])
                for label in text.split(", ")
            }
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= by, panel["title"]


def test_grafana_knows_each_field_of_the_dashboard():
    """Its model of a dashboard, which leaves out what it does not know."""
    from grafana_foundation_sdk.cog import plugins
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import Dashboard

    plugins.register_default_plugins()
    given = json.loads(DASHBOARD.read_text())
    kept = json.loads(JSONEncoder().encode(Dashboard.from_json(given)))

    def compare(one: Any, other: Any, path: str) -> None:
        if isinstance(one, dict):
            assert one.keys() <= other.keys(), path
            for name, value in one.items():
                compare(value, other[name], f"{path}.{name}")
        elif isinstance(one, list):
            assert len(one) == len(other), path
            for index, value in enumerate(one):
                compare(value, other[index], f"{path}[{index}]")
        else:
            assert one == other, path

    compare(given, kept, "$")


def test_the_panels_do_not_overlap():
    taken: dict[tuple[int, int], str] = {}
    for panel in panels():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)


def test_the_annotations_name_labels_of_their_alerts():
    for rule in rules():
        text = json.dumps(rule["annotations"])
        for label in re.findall(r"\$labels\.(\w+)", text):
            assert re.search(rf"by \([^)]*\b{label}\b", rule["expr"]), rule["alert"]
        assert rule["labels"]["severity"] in {"warning", "critical"}
