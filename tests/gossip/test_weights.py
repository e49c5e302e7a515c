"""Models as bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from federation.learning import Params, ParamsError
from gossip.weights import HEAD_BYTES, from_bytes, to_bytes

LIKE: Params = {"W": np.zeros((2, 3), np.float32), "b": np.zeros(3, np.float32)}

params = st.dictionaries(
    st.text(min_size=1, max_size=3),
    arrays(np.float32, array_shapes(max_dims=3, max_side=3), elements=st.floats(-9, 9, width=32)),
    min_size=1,
    max_size=3,
)


@given(params)
def test_a_model_survives_the_way(model: Params) -> None:
    back = from_bytes(to_bytes(model), model)

    assert back.keys() == model.keys()
    for name, array in model.items():
        np.testing.assert_array_equal(back[name], array)
        assert not back[name].flags.writeable


def test_the_order_of_names_and_of_memory_makes_no_difference() -> None:
    W = np.arange(6, dtype=np.float32).reshape(2, 3)
    b = np.ones(3, np.float32)

    assert to_bytes({"W": W, "b": b}) == to_bytes({"b": b, "W": np.asfortranarray(W)})


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no model"),
        (b"\x80\x04 pickle", "no model"),
        (to_bytes({"W": np.zeros((3, 2), np.float32), "b": np.zeros(3, np.float32)}), "another shape"),
        (to_bytes({"V": np.zeros((2, 3), np.float32), "b": np.zeros(3, np.float32)}), "another shape"),
        (to_bytes(LIKE)[:-1], "a model of 67 bytes; one of this shape has 68"),
        (to_bytes(LIKE) + b"\0", "a model of 69 bytes"),
        (to_bytes({**LIKE, "b": np.array([1, np.nan, 1], np.float32)}), "NaN or infinity"),
    ],
)
def test_what_is_no_model_of_ours_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(ParamsError, match=said):
        from_bytes(data, LIKE)


@given(st.binary(min_size=30, max_size=40) | st.binary(min_size=36, max_size=36))
def test_any_bytes_are_a_sound_model_or_are_refused(data: bytes) -> None:
    try:
        model = from_bytes(to_bytes(LIKE)[:HEAD_BYTES] + data, LIKE)
    except ParamsError:
        return
    assert len(data) == 36
    assert {name: array.shape for name, array in model.items()} == {"W": (2, 3), "b": (3,)}
    assert all(np.isfinite(array).all() for array in model.values())
