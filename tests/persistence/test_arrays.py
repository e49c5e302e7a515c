from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from persistence.arrays import Array, from_columns, to_columns

DTYPES = st.sampled_from(["float32", "float64", "int64", "int32", "uint8", "float16", "bool", ">f4", ">i8"])
ARRAYS = npst.arrays(DTYPES, npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))


@given(ARRAYS)
def test_an_array_comes_back_with_the_same_bits(array: Array) -> None:
    columns = to_columns("W", array)

    back = from_columns(columns.dtype, columns.shape, columns.data)

    assert back.shape == array.shape
    assert back.dtype == array.dtype.newbyteorder("=")
    assert back.tobytes() == array.astype(back.dtype).tobytes()  # NaN and -0.0 too


@given(npst.arrays("float32", (4, 6)), st.sampled_from(["transposed", "strided", "reversed"]))
def test_the_layout_in_memory_does_not_matter(array: Array, layout: str) -> None:
    view = {"transposed": array.T, "strided": array[::2, ::3], "reversed": array[::-1]}[layout]

    columns = to_columns("W", view)

    np.testing.assert_array_equal(from_columns(columns.dtype, columns.shape, columns.data), view)


def test_the_columns_are_what_the_schema_says() -> None:
    """Another language reads them by three facts: NumPy's name, a JSON list, little-endian in C order."""
    columns = to_columns("W", np.array([[1, 2], [3, 4]], dtype=">i4"))

    assert columns.dtype == "int32"
    assert json.loads(columns.shape) == [2, 2]
    assert columns.data == bytes([1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0])


def test_what_comes_back_is_read_only() -> None:
    columns = to_columns("b", np.zeros(3))
    back = from_columns(columns.dtype, columns.shape, columns.data)

    with pytest.raises(ValueError, match="read-only"):
        back[0] = 1


@pytest.mark.parametrize(
    "array",
    [np.array([{"a": 1}]), np.array(["text"]), np.zeros(2, "complex64"), np.zeros(2, "longdouble")],
    ids=["objects", "text", "complex", "long double"],
)
def test_an_array_that_others_could_not_read_is_refused(array: Array) -> None:
    with pytest.raises(ValueError, match="'W' has dtype"):
        to_columns("W", array)


def test_an_array_that_no_column_holds_is_refused() -> None:
    huge = np.broadcast_to(np.float64(0), (125_000_001,))  # says that it has so many bytes, and takes eight
    with pytest.raises(ValueError, match=r"'W' has 1,000,000,008 bytes; .* at most 1,000,000,000; split it"):
        to_columns("W", huge)


@pytest.mark.parametrize(
    ("dtype", "shape", "size_bytes", "said"),
    [
        ("float32", "[2, 3]", 20, "takes 24 bytes, 20 are there"),
        ("float33", "[2]", 8, "describe no array"),
        ("object", "[1]", 8, "describe no array of numbers"),
        ("float32", "[-1]", 4, "describe no array of numbers"),
        ("float32", "two", 8, "describe no array"),
        ("float32", "2", 8, "describe no array"),
    ],
)
def test_columns_that_do_not_belong_together_are_refused(
    dtype: str, shape: str, size_bytes: int, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        from_columns(dtype, shape, bytes(size_bytes))
