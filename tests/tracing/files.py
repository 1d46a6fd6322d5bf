"""Spans in files, a line each: of processes whose spans a test is to see."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult


class _File(SpanExporter):
    def __init__(self, path: Path) -> None:
        self._path = path

    def export(self, spans: Any) -> SpanExportResult:
        with self._path.open("a") as file:
            for span in spans:
                file.write(span.to_json(indent=None) + "\n")
        return SpanExportResult.SUCCESS


def export_to(path: Path) -> None:
    """Set this process up to write its spans to a file."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(_File(path)))
    trace.set_tracer_provider(provider)


@dataclass(frozen=True)
class Found:
    """A span that was exported."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str | None
    failed: bool
    attributes: dict[str, Any] = field(hash=False, repr=False)
    links: tuple[str, ...] = ()


def _found(span: dict[str, Any]) -> Found:
    return Found(
        span["name"],
        span["kind"].removeprefix("SpanKind."),
        span["context"]["trace_id"].removeprefix("0x"),
        span["context"]["span_id"].removeprefix("0x"),
        span["parent_id"] and span["parent_id"].removeprefix("0x"),
        span["status"]["status_code"] == "ERROR",
        span["attributes"],
        tuple(link["context"]["span_id"].removeprefix("0x") for link in span["links"]),
    )


def spans_in(*paths: Path) -> list[Found]:
    """Read the spans in files, among other lines; each may take several."""
    found, decoder = [], json.JSONDecoder()
    for path in paths:
        text = path.read_text() if path.exists() else ""
        at = text.find("{")
        while at >= 0:
            try:
                value, at = decoder.raw_decode(text, at)
            except ValueError:  # it is being written
                break
            if "context" in value:
                found.append(_found(value))
            at = text.find("{", at)
    return found
