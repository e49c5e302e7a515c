"""Middleware that makes OpenTelemetry spans: the trace goes with the message, also to another machine.

Needs the extra `tracing` (opentelemetry-api). Without an SDK that is configured, the API does nothing and
costs little. A span takes some 25 us, so trace what is asked now and then, not every small tell: `skip`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from opentelemetry import propagate, trace

from trioactor import CallNext, Envelope, Middleware


def send_span(tracer: trace.Tracer, skip: Collection[type] = ()) -> Middleware:
    """Return send middleware: a span around each message, whose W3C context goes into the headers.

    Args:
        tracer: Of your program, `opentelemetry.trace.get_tracer(__name__)`.
        skip: Message classes that are not worth a span.
    """

    async def middleware(envelope: Envelope, call_next: CallNext) -> Any:
        if type(envelope.message) in skip:
            return await call_next(envelope)
        with tracer.start_as_current_span(
            f"send {type(envelope.message).__name__}", kind=trace.SpanKind.PRODUCER
        ):
            carrier = {key: value for key, value in envelope.headers.items() if isinstance(value, str)}
            propagate.inject(carrier)
            return await call_next(envelope.with_changes(headers={**envelope.headers, **carrier}))

    return middleware


def handler_span(tracer: trace.Tracer, skip: Collection[type] = ()) -> Middleware:
    """Return receive middleware: a span around each handler, a child of the span of its sender.

    Args:
        tracer: Of your program.
        skip: Message classes that are not worth a span.
    """

    async def middleware(envelope: Envelope, call_next: CallNext) -> Any:
        if type(envelope.message) in skip:
            return await call_next(envelope)
        parent = propagate.extract(dict(envelope.headers))
        with tracer.start_as_current_span(
            f"handle {type(envelope.message).__name__}", context=parent, kind=trace.SpanKind.CONSUMER
        ):
            return await call_next(envelope)

    return middleware
