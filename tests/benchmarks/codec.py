"""The codec beside cbor2 by hand, pickle and msgspec: a small message, and arrays.

The small message has an integer, a text, a float and a boolean. Ours checks every field on both ways, and
that no byte is left over; the others do less: cbor2 by hand trusts its array, pickle runs what it is sent.
Arrays go from the memory of the sender to fresh memory of the receiver, through a buffer as a socket's.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import cbor2
import numpy as np

from tests.benchmarks.measure import Case, Row, compare
from trioactor import message
from trioactor.arrays import ArrayHook, decoders
from trioactor.codec import Codec
from trioactor.framing import FrameDecoder, Head, Tail, cut
from trioactor.limits import Limits
from trioactor.vocabulary import Vocabulary


@message("bench.small")
class Small:
    number: int
    name: str
    share: float
    flag: bool


@message("bench.array")
class Held:
    values: np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Plain:
    """The same for pickle."""

    number: int
    name: str
    share: float
    flag: bool


class NoRefs:
    """No ref travels here."""

    def wire_ref(self, ref: Any) -> list[Any]:
        raise AssertionError(ref)

    def ref_of(self, fields: Any) -> Any:
        raise AssertionError(fields)


LIMITS = Limits()
CODEC = Codec(Vocabulary([Small, Held], [ArrayHook()]), LIMITS, NoRefs(), b"8 bytes!", decoders)
ACTOR = cbor2.dumps("actor")


def rows(*, quick: bool, progress: Callable[[str], None]) -> list[Row]:
    """Return microseconds of small messages, and bytes per second of arrays."""
    count, rounds = (5_000, 2) if quick else (20_000, 9)
    measure = partial(compare, rounds=rounds, progress=progress)
    encode: dict[str, Case] = {"ours": partial(_each, _encode_ours, count)}
    encode |= {
        "cbor2 by hand": partial(_each, _encode_cbor, count),
        "pickle 5": partial(_each, _pickle, count),
    }
    decode: dict[str, Case] = {"ours": _decoding(_decode_ours, _encode_ours(), count)}
    decode |= {"cbor2 by hand": _decoding(_decode_cbor, _encode_cbor(), count)}
    decode |= {"pickle 5": _decoding(pickle.loads, _pickle(), count)}
    if find_spec("msgspec"):
        encode["msgspec msgpack"], decode["msgspec msgpack"] = _msgspec(count)
    found = [
        *measure("encode a small message", encode, {}, unit="us", more_is_better=False),
        *measure("decode a small message", decode, {}, unit="us", more_is_better=False),
    ]
    for what, size in ("40 KB", 40_000), ("1 MB", 1_000_000), ("45 MB", 45_000_000):
        values = np.arange(size // 8, dtype=np.float64)
        times = max(2, (5_000_000 if quick else 200_000_000) // size)
        cases = {
            "ours": partial(_throughput, _through_ours, values, times),
            "copy to a buffer and out of it": partial(_throughput, _through_memory, values, times),
            "pickle 5, in-band": partial(_throughput, _through_pickle, values, times),
            "cbor2 by hand, typed array": partial(_throughput, _through_cbor, values, times),
        }
        found += measure(f"an array of {what}, to a buffer and out of it", cases, {}, unit="bytes/s")
    return found


# --- a small message ------------------------------------------------------------------------------

SMALL = Small(12345, "worker-A", 0.25, True)
PLAIN = Plain(12345, "worker-A", 0.25, True)


def _each(work: Callable[[], Any], count: int) -> float:
    start = time.process_time()
    for _ in range(count):
        work()
    return (time.process_time() - start) / count * 1e6


def _decoding(work: Callable[[bytes], Any], data: bytes, count: int) -> Case:
    return partial(_each, partial(work, data), count)


def _encode_ours() -> bytes:
    return CODEC.encode_message(ACTOR, SMALL).head


def _decode_ours(data: bytes) -> Any:
    frame: Any = CODEC.decode(data)
    return CODEC.open_message(frame)[0]


def _encode_cbor() -> bytes:
    return cbor2.dumps(["actor", SMALL.number, SMALL.name, SMALL.share, SMALL.flag])


def _decode_cbor(data: bytes) -> Any:
    return Plain(*cbor2.loads(data)[1:])


def _pickle() -> bytes:
    return pickle.dumps(("actor", PLAIN), protocol=5)


def _msgspec(count: int) -> tuple[Case, Case]:
    import msgspec

    encoder, decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(tuple[str, Plain])
    data = encoder.encode(("actor", PLAIN))
    return partial(_each, partial(encoder.encode, ("actor", PLAIN)), count), _decoding(
        decoder.decode, data, count
    )


# --- arrays -----------------------------------------------------------------------------------------


def _throughput(
    work: Callable[[np.ndarray[Any, Any]], Any], values: np.ndarray[Any, Any], times: int
) -> float:
    start = time.perf_counter()
    for _ in range(times):
        arrived = work(values)
    seconds = time.perf_counter() - start
    assert arrived[-1] == values[-1]
    return times * values.nbytes / seconds


def _through_ours(values: np.ndarray[Any, Any]) -> Any:
    encoded = CODEC.encode_message(ACTOR, Held(values))
    decoder = FrameDecoder(LIMITS)
    pending: Any = None
    for frame in cut(encoded.head, list(encoded.tail), encoded.tail_bytes, LIMITS.frame_bytes):
        decoder.feed(b"".join(frame))
        while (event := decoder.next_event()) is not None:
            match event:
                case bytes():
                    pending = CODEC.decode(event)
                case Head(payload, size):
                    pending = CODEC.decode(payload, size)
                    expected = CODEC.tail
                    decoder.place(expected.places if expected.expected else [])
                case Tail():
                    assert expected.sound()
    held: Any = CODEC.open_message(pending)[0]
    return held.values


def _through_memory(values: np.ndarray[Any, Any]) -> Any:
    return np.frombuffer(values.tobytes(), dtype=values.dtype).copy()


def _through_pickle(values: np.ndarray[Any, Any]) -> Any:
    return pickle.loads(pickle.dumps(values, protocol=5))


def _through_cbor(values: np.ndarray[Any, Any]) -> Any:
    tag: Any = cbor2.loads(cbor2.dumps(cbor2.CBORTag(86, values.tobytes())))
    return np.frombuffer(tag.value, dtype=values.dtype)
