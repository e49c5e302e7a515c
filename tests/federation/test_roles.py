"""Roles as programs: how they end."""

from __future__ import annotations

from pathlib import Path

import trio
import trio.lowlevel

from federation.config import WorkersConfig
from federation.errors import ExitStatus
from federation.learning import save_region
from federation.roles import run_workers
from federation.stopping import Stop
from tests.federation.stage import region


async def test_workers_that_are_told_to_end_say_who_wanted_it(tmp_path: Path) -> None:
    save_region(tmp_path / "dataset" / "region_A.npz", region("A"))
    config = WorkersConfig(workspace=tmp_path, region=("A",), provider="127.0.0.1:1")
    stop = Stop()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _ask() -> None:
                await trio.lowlevel.checkpoint()
                stop.ask("Ctrl-C", ExitStatus.INTERRUPTED)

            over = await run_workers(config, stop=stop)

    assert (over.status, over.reason) == ("stopped", "Ctrl-C")
