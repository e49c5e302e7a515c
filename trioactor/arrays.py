"""NumPy arrays on the wire: RFC 8746, tag 40 over a typed array. The only module that imports NumPy.

    40([[2, 3], 86(bytes)])     small: dimensions, then little-endian elements in row-major order
    40([[2, 3], 86])            large: the item 86(bytes) comes behind the head of the message

A large array is sent from its own memory and received into the memory that the receiver gets, so
nothing is copied. Arrays that were received are read-only. The runtime takes this module in when a
program has imported NumPy before it makes its `ActorSystem`; without NumPy, arrays are refused.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from cbor2 import CBORTag

from trioactor.codec import MOST_SMALL_ARRAYS, SMALL_ARRAY_BYTES, Arriving
from trioactor.framing import write_head
from trioactor.shapes import READ_SEQUENCES, Inward, Mismatch, Outward, Refused, Shape, wrong

ARRAY_TAG = 40
_NOT_BEHIND = Refused(
    f"an array was announced of more bytes than follow, or there are more than {MOST_SMALL_ARRAYS} of fewer"
    f" than {SMALL_ARRAY_BYTES:,} bytes; such small ones stand in the head"
)
MAX_DIMENSIONS = 32
MAX_ELEMENTS = 2**48  # NumPy counts dimensions of 0 as 1 when it looks for an overflow, and so do we

# RFC 8746, section 2.1: the little-endian ones, and the two whose elements are single bytes.
DTYPES: Mapping[int, np.dtype[Any]] = {
    64: np.dtype("u1"),
    69: np.dtype("<u2"),
    70: np.dtype("<u4"),
    71: np.dtype("<u8"),
    72: np.dtype("i1"),
    77: np.dtype("<i2"),
    78: np.dtype("<i4"),
    79: np.dtype("<i8"),
    84: np.dtype("<f2"),
    85: np.dtype("<f4"),
    86: np.dtype("<f8"),
}
_TAGS = {dtype: tag for tag, dtype in DTYPES.items()}

# Typed arrays that RFC 8746 knows and we do not take: big-endian, clamped, 128-bit floats.
OTHER_TAGS = tuple(tag for tag in range(64, 88) if tag not in DTYPES)


class ArrayShape:
    """An array, of one dtype or of any.

    Args:
        dtype: The scalar type of the annotation; None for any.
    """

    exact: type | None = None

    def __init__(self, dtype: type[np.generic] | None = None) -> None:
        self._dtype = dtype
        self.name = f"array[{'any' if dtype is None else dtype.__name__}]"

    def pack(self, value: Any, out: Outward) -> CBORTag:
        """See `Shape`."""
        self._check(value)
        little = value.dtype.newbyteorder("<")
        tag = _TAGS.get(little)
        if tag is None:
            raise Mismatch(
                f"arrays of dtype {value.dtype} cannot be sent; use integers of 8 to 64 bits or floats of"
                " 16 to 64 bits (a mask of bools as uint8)"
            )
        array = np.ascontiguousarray(value, dtype=little)
        for _ in range(3):  # tag, its array, the dimensions
            out.enter()
        for _ in range(3):
            out.leave()
        dimensions = list(value.shape)
        if array.nbytes <= out.inline_bytes():
            return CBORTag(ARRAY_TAG, [dimensions, CBORTag(tag, array.tobytes())])
        out.behind(write_head(6, tag) + write_head(2, array.nbytes))
        out.behind(_memory(array))
        return CBORTag(ARRAY_TAG, [dimensions, tag])

    def unpack(self, item: Any, inward: Inward) -> np.ndarray[Any, Any]:
        """See `Shape`."""
        self._check(item)
        item.setflags(False)
        checked: np.ndarray[Any, Any] = item
        return checked

    def _check(self, value: Any) -> None:
        if not isinstance(value, np.ndarray):
            raise wrong(self.name, value)
        if self._dtype is not None and not issubclass(value.dtype.type, self._dtype):
            raise Mismatch(f"expected {self.name}, found array[{value.dtype}]")


class ArrayHook:
    """Makes `numpy.ndarray` and `numpy.typing.NDArray[...]` fields travel."""

    kind: type = np.ndarray

    def shape(self, annotation: Any) -> Shape:
        """Return the shape for an annotation: `np.ndarray`, or `NDArray[np.float32]`."""
        args = typing.get_args(annotation)
        scalars = typing.get_args(args[1]) if len(args) == 2 else ()
        if scalars and isinstance(scalars[0], type) and issubclass(scalars[0], np.generic):
            return ArrayShape(scalars[0])
        return ArrayShape()


def decoders(arriving: Arriving) -> dict[int, Callable[[Any, bool], Any]]:
    """Return what cbor2 is to call for the tags of arrays."""
    return {**_FLAT, ARRAY_TAG: lambda value, _immutable: _array(value, arriving)}


def _refuse(tag: int) -> Callable[[Any, bool], Any]:
    refused = Refused(f"typed arrays with the tag {tag} are not taken; send little-endian ones, 64 to 87")
    return lambda _value, _immutable: refused


def _flat(dtype: np.dtype[Any]) -> Callable[[Any, bool], np.ndarray[Any, Any] | Refused]:
    """Return what makes arrays of one dimension, of the bytes that the frame holds."""
    item_bytes = dtype.itemsize
    frombuffer = np.frombuffer

    def made(value: Any, _immutable: bool) -> np.ndarray[Any, Any] | Refused:
        if type(value) is not bytes or len(value) % item_bytes:
            return Refused(f"a typed array of {dtype} is a byte string of whole elements")
        return frombuffer(value, dtype)

    return made


# Made once: every connection has a codec.
_FLAT: Mapping[int, Callable[[Any, bool], Any]] = {
    **{tag: _flat(dtype) for tag, dtype in DTYPES.items()},
    **{tag: _refuse(tag) for tag in OTHER_TAGS},
}


def _array(value: Any, arriving: Arriving) -> np.ndarray[Any, Any] | Refused:
    """An array of any shape; when it comes behind the head, one that is still to be filled."""
    if type(value) not in READ_SEQUENCES or len(value) != 2 or type(value[0]) not in READ_SEQUENCES:
        return Refused("tag 40 stands over [dimensions, typed array]")
    dimensions, elements = tuple(value[0]), value[1]
    if type(elements) is int and arriving.tail.has_too_many:
        return _NOT_BEHIND
    if len(dimensions) > MAX_DIMENSIONS or not all(type(size) is int and size >= 0 for size in dimensions):
        return Refused(f"the dimensions of an array are at most {MAX_DIMENSIONS} whole numbers, 0 or more")
    if math.prod(size or 1 for size in dimensions) > MAX_ELEMENTS:
        return Refused(f"an array has at most {MAX_ELEMENTS:,} elements")
    count = math.prod(dimensions)
    if isinstance(elements, np.ndarray):
        if elements.ndim != 1 or elements.size != count:
            return Refused(f"an array of {count:,} elements was announced, {elements.size:,} came")
        return elements.reshape(dimensions)
    dtype = DTYPES.get(elements) if type(elements) is int else None
    if dtype is None:
        return elements if isinstance(elements, Refused) else Refused("tag 40 stands over no typed array")
    if not arriving.tail.reserve(elements, count * dtype.itemsize):
        return _NOT_BEHIND
    array = np.empty(dimensions, dtype)
    arriving.tail.fill(_memory(array))
    return array


def _memory(array: np.ndarray[Any, Any]) -> memoryview:
    """The memory of a contiguous array, one byte an item."""
    return array.reshape(-1).view(np.uint8).data
