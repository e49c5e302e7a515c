"""A run as a picture: looked at through matplotlib's own objects."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from persistence import RoundPersistence, UpdateRow
from persistence.canvas import caption_of
from persistence.history import RunHistory, load_run
from persistence.plot import _spread, draw, draw_accuracy, draw_loss, plot
from tests.persistence.samples import accepted, keep_a_run, model, new_run, round_row, sha


def history_of(path: Path, **choices: object) -> RunHistory:
    keep_a_run(path, **choices)  # type: ignore[arg-type]  # passed on
    return load_run(path)


def texts(figure: Figure) -> list[str]:
    return [
        text.get_text().replace("\N{NO-BREAK SPACE}", " ")
        for text in figure.findobj(Text)
        if isinstance(text, Text) and text.get_text()
    ]


def assert_apart(figure: Figure, found: Iterable[Text]) -> None:
    """Check that no text lies on another, and none beyond the edge of the picture."""
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in found]
    for place, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1
        assert not any(box.overlaps(other) for other in boxes[:place])


def visible_texts(figure: Figure) -> list[Text]:
    return [
        text
        for text in figure.findobj(Text)
        if isinstance(text, Text) and text.get_text() and text.get_visible()
    ]


def test_the_picture_is_a_png_of_the_promised_size(path: Path, tmp_path: Path) -> None:
    picture = tmp_path / "run.png"
    plot(history_of(path), picture)

    pixels = imread(picture)
    assert pixels.shape[:2] == (1125, 1500)
    assert pixels[..., :3].min() < 0.1  # there is black on it
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_picture_says_what_it_shows(path: Path) -> None:
    said = texts(draw(history_of(path)))

    for expected in (
        "first",
        "accuracy",
        "loss",
        "round",
        "global model on D",
        "A",
        "B",
        "C",
        "trained alone on D",
    ):
        assert expected in said
    assert "3 workers, 3 rounds, synthetic data, accuracy on D 0.750" in said
    assert [text for text in said if " alone 0" in text] == ["A alone 0.05", "B alone 0.10", "C alone 0.15"]
    (caption,) = [text for text in said if "seed 7" in text]
    assert caption == f"synthetic data, fedavg, seed 7, rounds 3, mu 0.0\nmodel {sha(3)}"


def test_the_caption_leaves_out_settings_that_say_nothing(path: Path) -> None:
    told = {
        "epochs": 5,
        "seed": 7,
        "source": "synthetic",
        "name": "",
        "resume": None,
        "alone": True,
        "tls": False,
    }
    with RoundPersistence(path) as record:
        record.create_run(replace(new_run(), settings=told))
    said = caption_of(load_run(path)).replace("\N{NO-BREAK SPACE}", " ")
    assert said == "synthetic data, fedavg, seed 7, epochs 5, alone yes, tls no"


def test_the_lines_are_the_numbers_of_the_record(path: Path) -> None:
    axes = draw_accuracy(history_of(path, workers=["A", "B"]))

    of_a, of_b, of_global, alone_a, alone_b = axes.get_lines()

    for line in (of_a, of_b):
        np.testing.assert_array_equal(line.get_xydata(), [[1, 0.75], [2, 0.75], [3, 0.75]])
    np.testing.assert_array_equal(of_global.get_xydata(), [[1, 0.25], [2, 0.5], [3, 0.75]])
    assert [(line.get_linestyle(), line.get_ydata()[0]) for line in (alone_a, alone_b)] == [  # type: ignore[index]
        ("--", 0.05),
        ("--", 0.1),
    ]
    assert alone_a.get_color() == of_a.get_color() != of_b.get_color() == alone_b.get_color()


def test_a_worker_that_was_missing_leaves_a_gap_and_no_point_is_invisible(
    record: RoundPersistence, run_id: int
) -> None:
    lost = UpdateRow(worker="B", outcome="lost")
    for number in range(1, 61):
        here = number in (1, 2, 30)
        record.commit_round(
            run_id,
            round_row(number, sha(number)),
            weights=model(number),
            updates=[accepted("A"), accepted("B") if here else lost],
        )

    of_a, of_b, _ = draw_loss(load_run(record.database.path)).get_lines()

    drawn = np.asarray(of_b.get_ydata(), dtype=float)
    assert np.flatnonzero(np.isfinite(drawn)).tolist() == [0, 1, 29]
    assert 29 in np.asarray(of_b.get_markevery())
    assert len(np.asarray(of_a.get_markevery())) == 15


@pytest.mark.parametrize("rounds", [1, 3, 30])
def test_rounds_are_counted_in_whole_numbers(path: Path, rounds: int) -> None:
    figure = draw(history_of(path, rounds=rounds))
    figure.draw_without_rendering()
    for axes in figure.axes:
        ticks = [tick for tick in axes.get_xticks() if 0.5 <= tick <= rounds + 0.5]
        assert ticks
        assert all(tick == int(tick) for tick in ticks)


@pytest.mark.parametrize("workers", [1, 3, 6, 7, 13, 40])
@pytest.mark.parametrize("rounds", [3, 30])
def test_nothing_in_the_picture_hides_anything(path: Path, workers: int, rounds: int) -> None:
    names = [f"hospital-{n:02}" for n in range(workers)]
    figure = draw(history_of(path, workers=names, rounds=rounds))

    assert_apart(figure, visible_texts(figure))
    above, below = figure.axes
    legend = below.get_legend()
    assert legend is not None
    frame = legend.get_window_extent()
    assert frame.x0 >= below.bbox.x1
    assert frame.y0 >= 0
    assert frame.y1 <= above.bbox.y0
    assert below.bbox.width > 0.6 * figure.bbox.width


def test_each_worker_looks_like_no_other(path: Path) -> None:
    lines = draw_accuracy(history_of(path, workers=[f"w{n:02}" for n in range(13)])).get_lines()
    assert len({(line.get_color(), line.get_marker()) for line in lines[:13]}) == 13


def test_a_crowd_is_drawn_as_a_crowd(path: Path) -> None:
    figure = draw(history_of(path, workers=[f"w{n:02}" for n in range(14)]))
    said = texts(figure)
    assert "14 workers in training,\neach on its own region" in said
    assert "each alone\n0.05 to 0.70" in said
    assert "w03" not in said


def test_losses_of_different_size_are_drawn_on_a_logarithmic_axis(path: Path) -> None:
    history = history_of(path, rounds=60)  # the loss on D goes from 2 to 1/30
    axes = draw_loss(history)
    assert (axes.get_yscale(), axes.get_ylabel()) == ("log", "loss (logarithmic)")
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]  # not a part of another figure
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert {"0.1", "0.5", "1"} <= set(labels)

    assert draw_loss(load_run(path)).get_lines()[-1].get_ydata()[0] == 2.0  # type: ignore[index]


def test_a_name_is_shown_as_it_is(path: Path) -> None:
    """matplotlib would take the first for a formula, and leave out the second."""
    figure = draw(history_of(path, name=r"cost $\frac$", workers=["$a$", "_b"]))
    figure.draw_without_rendering()
    assert {r"cost $\frac$", "$a$", "_b", "$a$ alone 0.05"} <= set(texts(figure))


def test_a_failed_run_says_so_and_marks_the_round(path: Path) -> None:
    keep_a_run(path, rounds=2, status="running", alone=False)
    with RoundPersistence(path) as record:
        refused = UpdateRow(worker="A", outcome="refused", reason="NaN in W")
        record.record_failed_round(1, round_row(3, reason="no update was accepted"), updates=[refused])
        record.end_run(1, status="failed", ended_unix=1.0, reason="no update was accepted in round 3")

    figure = draw(load_run(path))

    assert {"first (failed)", "round failed"} <= set(texts(figure))
    (band,) = figure.axes[0].patches
    assert band.get_extents().x0 < figure.axes[0].transData.transform((3, 0))[0] < band.get_extents().x1


def test_a_run_without_a_round_is_an_empty_picture_that_says_so(path: Path) -> None:
    figure = draw(history_of(path, rounds=0, status="running", alone=False))
    assert {"first (running)", "no round has ended yet"} <= set(texts(figure))


def test_a_run_on_real_data_is_not_called_synthetic(path: Path) -> None:
    with RoundPersistence(path) as record:
        kept = record.create_run(new_run())
        with record.database.transaction() as connection:
            connection.execute("UPDATE runs SET source = 'digits', synthetic = 0 WHERE id = ?", (kept.id,))
    said = " ".join(texts(draw(load_run(path))))
    assert "digits data" in said
    assert "synthetic" not in said


def test_one_can_draw_on_axes_of_ones_own(path: Path) -> None:
    figure = Figure()
    left, right = figure.subplots(1, 2)
    history = history_of(path)
    for axes, drawn in ((left, draw_accuracy(history, left)), (right, draw_loss(history, right))):
        assert isinstance(axes, Axes)
        assert drawn is axes


def test_a_format_that_is_not_known_is_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'txt' is not supported"):
        plot(history_of(path), tmp_path / "run.txt")


def test_labels_move_apart_and_no_further() -> None:
    assert _spread([], 0.1) == []
    assert _spread([0.2, 0.5], 0.1) == [0.2, 0.5]
    assert _spread([0.5, 0.5, 0.5], 0.1) == pytest.approx([0.4, 0.5, 0.6])
    moved = _spread([0.1, 0.11, 0.19, 0.9], 0.1)
    assert np.diff(moved).min() >= 0.1 - 1e-12
    assert moved[3] == 0.9
    assert sum(moved[:3]) == pytest.approx(0.4)
    assert _spread([0.99, 1.0, 1.0], 0.1) == pytest.approx([0.8, 0.9, 1.0])  # within the axes
    assert _spread([0.0, 0.0], 0.1) == pytest.approx([0.0, 0.1])


def test_drawing_leaves_nothing_in_the_home_folder_and_no_warning(path: Path, tmp_path: Path) -> None:
    keep_a_run(path)
    home = tmp_path / "home"
    home.mkdir()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "MPL"))}

    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-m",
            "persistence",
            "report",
            "--db",
            path,
            "--plot",
            tmp_path / "x.png",
        ],
        env={**clean, "HOME": str(home), "TMPDIR": str(temporary)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"the picture is in {tmp_path / 'x.png'}\n"
    assert [*home.iterdir(), *temporary.iterdir()] == []


def test_pyplot_is_never_imported(path: Path, tmp_path: Path) -> None:
    keep_a_run(path)
    program = (
        "import sys; from persistence.history import load_run; from persistence.run_json import as_json; "
        "history = load_run(sys.argv[1]); as_json(history); assert 'matplotlib' not in sys.modules; "
        "from persistence.plot import plot; plot(history, sys.argv[2]); "
        "assert 'matplotlib.pyplot' not in sys.modules; import os; assert 'MPLCONFIGDIR' not in os.environ"
    )
    subprocess.run(
        [sys.executable, "-c", program, path, tmp_path / "x.svg"], cwd=Path(__file__).parents[2], check=True
    )
    assert "<svg" in (tmp_path / "x.svg").read_text()
