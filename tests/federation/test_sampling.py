"""Who is asked in a round."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from federation.sampling import draw_workers

members = st.sets(st.text("abcdef", min_size=1, max_size=4), min_size=1, max_size=40)


def draw(
    ids: set[str] | list[str], fraction: float, least: int = 1, round_number: int = 1
) -> tuple[str, ...]:
    return draw_workers(ids, fraction=fraction, least=least, seed=7, round_number=round_number)


@given(members)
def test_with_the_whole_fraction_everyone_is_asked_in_the_order_of_ids(ids: set[str]) -> None:
    assert draw(ids, 1.0) == tuple(sorted(ids))


@given(members, st.floats(0.01, 1.0), st.integers(1, 5), st.integers(1, 100), st.randoms())
def test_a_draw_depends_on_who_is_there_and_not_on_the_order(
    ids: set[str], fraction: float, least: int, number: int, chance: object
) -> None:
    shuffled = sorted(ids)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]

    drawn = draw(shuffled, fraction, least, number)

    assert drawn == draw(ids, fraction, least, number)
    assert len(set(drawn)) == len(drawn)
    assert set(drawn) <= ids
    assert len(drawn) == min(len(ids), max(least, -int(-round(fraction * len(ids), 9) // 1)))


def test_a_fraction_is_rounded_up_and_seven_of_a_hundred_are_seven() -> None:
    hundred = [f"{number:03}" for number in range(100)]

    assert len(draw(hundred, 0.07)) == 7
    assert len(draw(hundred, 0.071)) == 8


def test_every_round_draws_anew_and_nobody_is_forgotten() -> None:
    ids = list("abcdefghij")
    draws = [draw(ids, 0.3, round_number=number) for number in range(1, 101)]

    assert len(set(draws)) > 20
    counts = [sum(name in drawn for drawn in draws) for name in ids]
    assert sum(counts) == 300
    assert min(counts) >= 15
