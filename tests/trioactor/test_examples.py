"""The examples run and say what they should."""

import pytest
import trio
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from trio.testing import MockClock

from trioactor import Actor, ActorRef, ActorSystem
from trioactor.examples import counter, measuring, pipeline, worker_pool
from trioactor.examples.counter import Add, Counter, Total
from trioactor.examples.tracing import handler_span, send_span


async def test_the_counter_counts(capsys: pytest.CaptureFixture[str]) -> None:
    await counter.main()

    assert capsys.readouterr().out == "total: 55\nledger: accepted 11, handled 11\n"


async def test_the_pool_survives_its_weak_workers(
    capsys: pytest.CaptureFixture[str], autojump_clock: MockClock
) -> None:
    await worker_pool.main()

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"18 squares, their sum is {sum(n * n for n in range(1, 21) if n % 7)}"
    assert lines[1] == "failed: [7, 14]"
    # Jobs come in an order of chance: a worker that failed at its last one may still rest before its restart.
    assert sum("1 restarts" in line or "resting" in line for line in lines) == 2


async def test_the_pipeline_goes_at_the_pace_of_its_last_stage(
    capsys: pytest.CaptureFixture[str], autojump_clock: MockClock
) -> None:
    await pipeline.main()

    waited, total = capsys.readouterr().out.splitlines()
    assert waited == "at most 8 waited; accepted 100, handled 100"
    assert total == f"sum: {sum(range(50)) * 2}"


async def test_the_meter_counts_by_kind(capsys: pytest.CaptureFixture[str]) -> None:
    await measuring.main()

    assert capsys.readouterr().out == "Add: 1000, 0 failed\nTotal: 1, 0 failed\n"


async def test_a_meter_counts_failures_and_the_time_of_handlers(autojump_clock: MockClock) -> None:
    class Slow(Actor):
        async def receive(self, message: Add) -> None:
            await trio.sleep(message.n)
            raise RuntimeError("after all that")

    meter = measuring.Meter()
    with pytest.raises(ExceptionGroup):
        async with ActorSystem(receive=[meter]) as system:
            slow = await system.actor_of(Slow, "slow")
            await slow.tell(Add(7))
            await trio.sleep_forever()

    assert meter.figures["Add"] == measuring.Figures(count=1, failed=1, seconds=7)


async def test_one_trace_spans_the_actors_that_a_question_passes() -> None:
    class Front(Actor):
        def __init__(self, back: ActorRef) -> None:
            self.back = back

        async def receive(self, message: Total) -> int:
            return await self.back.ask(message)

    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    tracer = provider.get_tracer("test")
    async with ActorSystem(
        send=[send_span(tracer, skip=[Add])], receive=[handler_span(tracer, skip=[Add])]
    ) as system:
        back = await system.actor_of(Counter, "back")
        front = await system.actor_of(lambda: Front(back), "front")
        await back.tell(Add(5))
        assert await front.ask(Total()) == 5

    finished = spans.get_finished_spans()
    assert [span.name for span in finished] == ["handle Total", "send Total", "handle Total", "send Total"]
    assert len({span.context.trace_id for span in finished if span.context}) == 1
    inner_handle, inner_send, outer_handle, outer_send = finished
    for child, parent in ((inner_handle, inner_send), (inner_send, outer_handle), (outer_handle, outer_send)):
        assert child.parent is not None
        assert parent.context is not None
        assert child.parent.span_id == parent.context.span_id
