"""The sides of a run, and several runs, as pictures: looked at through matplotlib's own objects."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from persistence import UPDATE_OUTCOMES, EvaluationRow, RegionScoreRow, RoundPersistence, UpdateRow
from persistence.__main__ import main
from persistence.history import RunHistory, load_run, load_runs
from persistence.parts import ASIDE
from persistence.plot_comparison import draw_comparison
from persistence.plot_sides import OUTCOME_LOOKS, draw_by, draw_by_class, draw_by_region, draw_by_worker
from tests.persistence.samples import (
    accepted,
    keep_a_run,
    keep_a_troubled_run,
    model,
    new_run,
    round_row,
    sha,
)


def texts(figure: Figure) -> list[str]:
    found = [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)]
    return [text.replace("\N{NO-BREAK SPACE}", " ") for text in found if text]


def points(ax: Axes) -> list[list[tuple[float, float]]]:
    """Return the points of every line that can be seen, in the order they were drawn."""
    lines = [np.asarray(line.get_xydata(), dtype=float) for line in ax.get_lines()]
    return [[(x, y) for x, y in line if np.isfinite(y)] for line in lines]


def assert_apart(figure: Figure, found: Iterable[Text]) -> None:
    """Check that no text lies on another, and none beyond the edge of the picture."""
    boxes = [text.get_window_extent() for text in found]
    for place, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1
        assert not any(box.overlaps(other) for other in boxes[:place])


@pytest.fixture
def scored(path: Path) -> RunHistory:
    """A run of three rounds whose model A and C have scored as well, A in each round, C in the first."""
    keep_a_run(path)
    with RoundPersistence(path) as record:
        record.save_region_scores(
            1,
            [
                RegionScoreRow(
                    round=number, worker=worker, samples=8, loss=0.5 * number, accuracy=0.25 * number
                )
                for worker, number in (("A", 1), ("A", 2), ("A", 3), ("C", 1))
            ],
        )
    return load_run(path)


# --- workers --------------------------------------------------------------------------------


def test_each_worker_has_a_row_and_each_outcome_its_mark(path: Path) -> None:
    keep_a_troubled_run(path)

    figure = draw_by_worker(load_run(path))

    above, middle, below = figure.axes
    took_part, refused, lost = points(above)
    assert took_part == [(n, 0) for n in range(1, 8)] + [(1, 1), (3, 1), (7, 1)]
    assert refused == [(8, 0)]
    assert lost == [(2, 1), (4, 1), (5, 1), (6, 1)]
    assert [label.get_text() for label in above.get_yticklabels()] == ["A", "B"]
    assert points(middle)[1] == [(1, 0.25), (3, 0.25), (7, 0.25)]  # seconds of B
    assert points(below)[0] == [(n, 0.5) for n in range(1, 8)]  # losses of A
    assert {"took part", "refused", "lost", "seconds to answer", "training loss"} <= set(texts(figure))
    assert "late" not in texts(figure)  # nobody was


def test_every_outcome_of_a_worker_that_was_asked_has_its_own_look() -> None:
    assert set(OUTCOME_LOOKS) == set(UPDATE_OUTCOMES) - set(ASIDE)
    assert len({(colour, marker) for colour, marker, _ in OUTCOME_LOOKS.values()}) == len(OUTCOME_LOOKS)


@pytest.mark.parametrize("workers", [1, 40, 300])
def test_names_of_workers_do_not_cover_each_other(path: Path, workers: int) -> None:
    keep_a_run(path, workers=[f"hospital-{n:03}" for n in range(workers)], rounds=2, alone=False)
    figure = draw_by_worker(load_run(path))
    figure.draw_without_rendering()
    labels = [label for label in figure.axes[0].get_yticklabels() if label.get_text()]
    assert_apart(figure, labels)
    assert len(labels) == (workers if workers <= 40 else len(labels))
    assert (f"{workers} workers" in texts(figure)) is (workers > 13)


# --- regions --------------------------------------------------------------------------------


def test_the_model_is_drawn_on_every_region_and_the_judge_stands_out(scored: RunHistory) -> None:
    figure = draw_by_region(scored)

    above, below = figure.axes
    on_a, on_c, on_d = points(above)
    assert on_a == [(1, 0.25), (2, 0.5), (3, 0.75)]
    assert on_c == [(1, 0.25)]
    assert on_d == [(1, 0.25), (2, 0.5), (3, 0.75)]
    assert points(below)[0] == [(1, 0.5), (2, 1.0), (3, 1.5)]
    widths = [line.get_linewidth() for line in above.get_lines()]
    assert widths[2] > max(widths[:2])
    assert {"A", "C", "on D, which\nit is judged by", "first: by region"} <= set(texts(figure))


def test_a_crowd_of_regions_is_named_as_a_crowd(path: Path) -> None:
    keep_a_run(path, rounds=1)
    with RoundPersistence(path) as record:
        names = [f"w{n:02}" for n in range(14)]
        record.save_region_scores(
            1, [RegionScoreRow(round=1, worker=name, samples=8, loss=0.5, accuracy=0.5) for name in names]
        )
    said = texts(draw_by_region(load_run(path)))
    assert "14 regions of workers" in said
    assert "w03" not in said


# --- classes --------------------------------------------------------------------------------


def keep_classes(path: Path, count: int, rounds: int = 2) -> RunHistory:
    """Enter a run in which class k of n is known to k / n, and the others are taken for class 0."""
    keep_a_run(path, rounds=rounds, alone=False)
    with RoundPersistence(path) as record:
        for number in range(1, rounds + 1):
            record.save_evaluation(
                1,
                EvaluationRow(
                    round=number,
                    region="D",
                    samples=count * count,
                    loss=1.0,
                    accuracy=0.5,
                    per_class={f"class-of-things-{k}": k / count for k in range(count)},
                    confusion=tuple(
                        tuple(k if c == k else (count - k if c == 0 else 0) for c in range(count))
                        for k in range(count)
                    ),
                ),
            )
    return load_run(path)


def test_classes_are_rows_and_rounds_are_columns(path: Path) -> None:
    figure = draw_by_class(keep_classes(path, 4, rounds=3))

    left, right = figure.axes[:2]
    (shares,) = left.get_images()
    np.testing.assert_allclose(
        np.asarray(shares.get_array(), dtype=float), np.repeat([[0.0], [0.25], [0.5], [0.75]], 3, axis=1)
    )
    assert tuple(shares.get_extent()) == (0.5, 3.5, 3.5, -0.5)
    assert [text.get_text() for text in left.texts] == ["0.00", "0.25", "0.50", "0.75"]
    (confusion,) = right.get_images()
    np.testing.assert_allclose(np.asarray(confusion.get_array(), dtype=float)[3], [0.25, 0, 0, 0.75])
    assert [text.get_text() for text in right.texts][-2:] == ["1", "3"]
    assert "after round 3: true by predicted class" in texts(figure)


@pytest.mark.parametrize("count", [2, 10, 40, 60])
def test_names_of_classes_do_not_cover_each_other(path: Path, count: int) -> None:
    figure = draw_by_class(keep_classes(path, count))
    figure.draw_without_rendering()
    left = figure.axes[0]
    labels = [label for label in left.get_yticklabels() if label.get_text()]
    assert_apart(figure, labels)
    assert (len(left.texts) == count) is (count <= 40)


def test_a_score_without_confusion_is_drawn_without(path: Path) -> None:
    keep_a_run(path, rounds=1)
    with RoundPersistence(path) as record:
        (kept,) = record.evaluations(1)
        record.save_evaluation(1, replace(kept, confusion=()))
    figure = draw_by_class(load_run(path))
    assert figure.axes[1].get_images() == []
    assert "0.50" in texts(figure)


# --- all of them ----------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["worker", "region", "class"])
def test_a_run_that_has_just_begun_is_a_picture_that_says_so(path: Path, by: str) -> None:
    keep_a_run(path, rounds=0, status="running", alone=False)
    figure = draw_by(load_run(path), by)
    figure.draw_without_rendering()
    assert "no round has ended yet" in texts(figure)


@pytest.mark.parametrize("by", ["region", "class"])
def test_a_run_without_a_score_says_so(path: Path, by: str) -> None:
    with RoundPersistence(path) as record:
        run_id = record.create_run(new_run()).id
        lost = UpdateRow(worker="B", outcome="lost", reason="reset")
        record.commit_round(run_id, round_row(1, sha(1)), weights=model(1), updates=[accepted("A"), lost])
    assert "no round has been scored yet" in texts(draw_by(load_run(path), by))


def report(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["report", *map(str, arguments)])
    return result.exit_code, result.stderr


@pytest.mark.parametrize("by", ["worker", "region", "class"])
def test_a_side_is_drawn_into_a_file(path: Path, tmp_path: Path, by: str) -> None:
    keep_a_run(path)
    picture = tmp_path / f"{by}.png"
    assert report("--db", path, "--plot", picture, "--by", by) == (0, f"the picture is in {picture}\n")
    assert imread(picture).shape[:2] == (1125, 1500)


# --- several runs ---------------------------------------------------------------------------


def test_several_runs_are_lines_in_one_picture(path: Path) -> None:
    keep_a_run(path, name="$long$")
    keep_a_run(path, name="short", rounds=2)
    long, short = load_runs(path)
    short = replace(short, run=replace(short.run, strategy="krum", strategy_parameters={"f": 1}, seed=8))

    figure = draw_comparison([long, short])

    above, below = figure.axes
    assert points(above) == [[(1, 0.25), (2, 0.5), (3, 0.75)], [(1, 1 / 3), (2, 2 / 3)]]
    assert points(below)[1] == [(1, 2.0), (2, 1.0)]
    said = texts(figure)
    assert {"2 runs side by side", "global models on D, synthetic data", "A 0.750", "B 0.667"} <= set(said)
    assert "A  $long$, fedavg, seed 7\nB  short, krum (f 1), seed 8" in said
    figure.draw_without_rendering()  # the name with dollars is a name


def test_many_runs_are_told_apart(path: Path) -> None:
    keep_a_run(path, rounds=2)
    figure = draw_comparison([load_run(path)] * 13)
    lines = figure.axes[0].get_lines()
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 13


def test_several_runs_are_drawn_into_a_file_but_not_one_side_of_them(path: Path, tmp_path: Path) -> None:
    keep_a_run(path, name="one", rounds=1)
    keep_a_run(path, name="two", rounds=1)
    picture = tmp_path / "both.png"

    assert report("--db", path, "one", "two", "--plot", picture) == (0, f"the picture is in {picture}\n")
    assert imread(picture).shape[:2] == (1125, 1500)
    assert report("--db", path, "one", "two", "--plot", picture, "--by", "class") == (
        2,
        "error: --plot with --by class: one run at a time; give one RUN, or leave out --by\n",
    )
