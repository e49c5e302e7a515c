"""What a person sees of a run: lines, a table that fits, a summary."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from federation.events import (
    AloneEvaluated,
    Event,
    RoundCommitted,
    RoundEvaluated,
    RoundStarted,
    RunEnded,
    TrainingAlone,
    UpdateAccepted,
    WorkerLost,
)
from federation.terminal import (
    FINAL_ROUNDS_SHOWN,
    LiveScreen,
    Picture,
    PlainScreen,
    age_in_words,
    bar,
    bytes_in_words,
    number,
    summary,
)
from federation.view import Notice, RunView, reduce
from tests.federation.test_view import BEGIN, ROUND, view_of


def rounds(count: int) -> list[Event]:
    """Return the events of so many finished rounds."""
    events: list[Event] = []
    for one in range(1, count + 1):
        events += [
            RoundStarted(float(one), one, ("A", "B")),
            UpdateAccepted(one + 0.1, one, "A", 1 / one, 0.5, 20_520),
            UpdateAccepted(one + 0.2, one, "B", 1 / one, 0.5, 20_520),
            RoundCommitted(one + 0.3, one, ("A", "B"), 2, 1 / one, 0.5, 0.0234, 82_080, "abc"),
            RoundEvaluated(one + 0.4, one, 0.5, min(1.0, one / 40)),
        ]
    return events


def drawn(
    view: RunView, width: int = 80, height: int = 24, *, final: bool = False, color: bool = False
) -> str:
    console = Console(
        file=io.StringIO(),
        width=width,
        height=height,
        force_terminal=color,
        color_system="standard" if color else None,
    )
    console.print(Picture(view, 30.0, final=final))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


# --- plain lines ----------------------------------------------------------------------------


def told(*events: Event) -> list[str]:
    out = io.StringIO()
    view = RunView()
    with PlainScreen(out) as screen:
        for event in events:
            view = reduce(view, event)
            screen.show(view)
            screen.tick(event.at_seconds)
    return out.getvalue().splitlines()


def test_there_is_one_line_for_each_finished_round() -> None:
    lines = told(*BEGIN, *ROUND)

    assert lines == [
        "run 20261124-test: 2 rounds, workers A (10 samples), B (20 samples), test data (made by a program)",
        "round 1/2  2 of 2 workers  training loss 0.4000  accuracy on D 0.550  0.200 s  400 B",
    ]


def test_a_notice_stands_between_the_rounds_where_it_happened() -> None:
    lines = told(*BEGIN, *ROUND, RoundStarted(1.0, 2, ("A", "B")), WorkerLost(1.1, "B", "link down", 10.0))

    assert lines[-1] == "worker B is lost (link down); it is expected back for 10 s"


def test_the_comparison_is_announced() -> None:
    assert told(*BEGIN, *ROUND, TrainingAlone(1.0, ("A", "B")))[-1].startswith("for comparison")


# --- the table ------------------------------------------------------------------------------


@pytest.mark.parametrize("events", [0, 3, 6, 8, 11])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 15), (200, 60)])
def test_the_table_fits_into_its_terminal(events: int, width: int, height: int) -> None:
    everything = [*BEGIN, *rounds(30), WorkerLost(31.0, "A", "a long reason " * 10, 10.0)]
    view = view_of(*(everything[:events] if events < 11 else everything))
    lines = drawn(view, width, height).splitlines()

    assert all(len(line) <= width for line in lines)
    assert events == 11 or len(lines) < height


def test_the_table_shows_the_last_rounds_and_the_final_one_more_of_them() -> None:
    view = replace(view_of(*BEGIN, *rounds(60)), rounds_planned=60)

    moving, final = drawn(view), drawn(view, final=True)

    assert "round 60 of 60" in moving
    assert len(moving.splitlines()) < 24
    assert f"\n{60:>5}   2 of 2" in final
    assert f"\n{60 - FINAL_ROUNDS_SHOWN + 1:>5}   2 of 2" in final
    assert f"\n{60 - FINAL_ROUNDS_SHOWN:>5}   2 of 2" not in final


def test_the_table_tells_states_and_ages() -> None:
    text = drawn(view_of(*BEGIN, *rounds(1), RoundStarted(29.0, 2, ("A", "B"))))

    assert "worker A    training  1.0 s" in text
    assert "provider    running   30 s" in text
    assert "made by a program" in text


def test_before_anything_is_known_the_table_says_so() -> None:
    assert "waiting for all roles" in drawn(RunView())


def test_colours_are_left_out_when_that_is_wished(monkeypatch: pytest.MonkeyPatch) -> None:
    view = view_of(*BEGIN, *rounds(1))
    assert "\x1b[32m" in drawn(view, color=True)

    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[32m" not in drawn(view, color=True)


def test_a_live_screen_leaves_the_whole_run_behind() -> None:
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True)
    with LiveScreen(console) as screen:
        screen.show(view_of(*BEGIN, *rounds(30)))
        screen.tick(31.0)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()

    assert text.count("    1   2 of 2") == 1  # only the final picture has room for it
    assert text.endswith("\x1b[?25h")  # the cursor is back


def test_what_happened_stands_in_the_order_in_which_it_did() -> None:
    """Not in that in which it was heard of: the launcher sees a process end before the Provider says so."""
    heard = {5.0: "B is lost", 4.0: "B ended", 6.0: "B is back"}
    view = RunView(notices=tuple(Notice(at_seconds=at, text=text) for at, text in heard.items()))
    text = drawn(view)

    assert text.index("B ended") < text.index("B is lost") < text.index("B is back")


# --- the summary ----------------------------------------------------------------------------


def test_the_summary_compares_with_each_worker_alone() -> None:
    end: list[Event] = [
        TrainingAlone(1.0, ("A", "B")),
        AloneEvaluated(1.1, "A", 2.0, 0.25),
        AloneEvaluated(1.2, "B", 2.0, 0.11),
        RunEnded(1.3, "finished", "", "cafe"),
    ]
    text = summary(view_of(*BEGIN, *ROUND, *end), {"record": "workspace/training.db"})

    assert text.startswith("Finished: 1 round in 0.5 s, test data (made by a program).")
    assert "the global model             0.550" in text
    assert "worker A alone, same budget  0.250" in text
    assert "Federating reaches 2.2 times what the best of them reaches alone." in text
    assert "model SHA-256  cafe" in text
    assert "record         workspace/training.db" in text


def test_without_a_comparison_the_summary_makes_none() -> None:
    text = summary(view_of(*BEGIN, *ROUND, RunEnded(1.3, "finished", "", "cafe")), {})

    assert "alone" not in text


# --- in words -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (20_520, "20.5 kB"),
        (999_499, "999 kB"),
        (999_600, "1 MB"),
        (3_100_000, "3.1 MB"),
        (7 * 10**12, "7,000 GB"),
    ],
)
def test_bytes_have_three_figures(count: int, words: str) -> None:
    assert bytes_in_words(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(-0.1, "0.0 s"), (2.34, "2.3 s"), (59.6, "60 s"), (600, "10 min"), (7200, "2 h")]
)
def test_ages_are_as_fine_as_one_can_see(seconds: float, words: str) -> None:
    assert age_in_words(seconds) == words


@given(st.floats(-1, 2), st.integers(1, 60))
def test_a_bar_has_as_many_cells_as_it_was_given(share: float, cells: int) -> None:
    assert len(bar(share, cells)) == cells


def test_bars_fill_in_halves() -> None:
    assert [bar(share, 2) for share in (0, 0.25, 0.5, 0.75, 1)] == ["  ", "╸ ", "━ ", "━╸", "━━"]


def test_a_number_that_is_none_is_left_out() -> None:
    assert [number(value) for value in (None, float("nan"), 0.12345)] == ["", "", "0.1235"]
