"""What peers say to each other.

| message | from | to | answer |
| --- | --- | --- | --- |
| `GossipSurvey` | a peer that starts | seeds and those they name | `GossipSighting` |
| `GossipPeerJoin` | a peer that has begun its life | seeds | `GossipWelcome` |
| `GossipPing` | anyone | anyone, in turn | `GossipAck` |
| `GossipPingRequest` | who got no `GossipAck` | a few others | `GossipAck`, or `GossipNack` |
| `GossipSyn` | anyone, once a round | one of the others | `GossipEqual` or `GossipDigest` |
| `GossipDigest` | who differs | who sent `GossipSyn` | `GossipDelta` |
| `GossipDelta` | who has compared | who sent the digest | a last `GossipDelta` |
| `GossipAnnounce` | who has a new model | a few others | `GossipWant`, where it is new |
| `GossipWant` | who lacks a model | who has it | `GossipPiece`, some |
| `GossipState` | every peer, now and then | the reporter | |
| `GossipStateRequest` | a peer that waits for all to agree | others, some | `GossipState` |

`sender` is who a message says that it comes from. With TLS the connection says who it comes from, and a
message that says something else is refused. A message checks what can be known without its receiver; what
such a check raises is the sender's fault, and the runtime refuses the message for it.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from gossip.clock import check_time
from gossip.identity import MAX_INCARNATION, SALT_BITS
from trioactor import Request, message

Status = Literal["alive", "suspect", "dead", "left"]

STATUSES: tuple[Status, ...] = ("alive", "suspect", "dead", "left")
"""In the order in which they beat each other, where nothing else decides."""

MAX_NAME_CHARACTERS = 100
MAX_HOST_CHARACTERS = 255
"""A name in the DNS has no more."""

MAX_PEERS = 4096
"""Of one network. A peer keeps some 300 bytes for each."""

MAX_NEWS = 16
MAX_PROOF_BYTES = 4096
"""A certificate of elliptic curves and a signature have some 700."""

MAX_MODEL_BYTES = 512 * 1024 * 1024
PIECE_BYTES = 64 * 1024
"""Large models travel in pieces: a ping waits for one of them at most, 0.5 ms at 1 Gbit/s."""

MAX_PIECES_PER_WANT = 16
CONTENT_BYTES = 32
MAX_REBUTTALS = 2**31

# How many bytes a digest has: see `digest.py`, which is built on these.
SUMMARY_BYTES = 48
ROW_BYTES = 32
KEY_HASH_BYTES = 8


def _check_name(what: str, name: str) -> None:
    if not 0 < len(name) <= MAX_NAME_CHARACTERS or not name.isprintable() or "/" in name:
        raise ValueError(f"{what}={name[:120]!r}; use 1 to 100 printable characters without a slash")


def _check_range(least: int, most: int, **numbers: int) -> None:
    for name, number in numbers.items():
        if not least <= number <= most:
            raise ValueError(f"{name} is outside of {least} to {most}")


def _check_address(host: str, port: int) -> None:
    if not 0 < len(host) <= MAX_HOST_CHARACTERS or not host.isprintable():
        raise ValueError(f"host={host[:120]!r}; use 1 to {MAX_HOST_CHARACTERS} printable characters")
    _check_range(1, 65_535, port=port)


def _check_length(what: str, data: bytes | tuple[Any, ...], most: int) -> None:
    if len(data) > most:
        raise ValueError(f"{what} has a length of {len(data):,}, the limit is {most:,}")


def _check_rows(what: str, data: bytes, row_bytes: int) -> None:
    _check_length(what, data, MAX_PEERS * row_bytes)
    if len(data) % row_bytes:
        raise ValueError(f"{what} has {len(data):,} bytes, which are no rows of {row_bytes}")


def _check_summary(what: str, data: bytes) -> None:
    if len(data) != SUMMARY_BYTES:
        raise ValueError(f"{what} has {len(data)} bytes, a summary has {SUMMARY_BYTES}")


# --- what is said about peers and models ----------------------------------------------------------


@message("gossip.peer")
class PeerInfo:
    """What is said about one peer: the `peer_info` that travels with everything else.

    Attributes:
        peer: Its name.
        host: Where it listens.
        port: Where it listens, 1 to 65,535.
        incarnation: Its life. Only a newer one brings another address.
        rebuttals: How often the peer has said, in this life, that it is alive after all.
        status: "alive", "suspect", "dead" or "left".
        accuser: Who found it suspect or dead; empty otherwise.
        proof: Seal of the peer over name, address and incarnation; empty where nothing is sealed.
    """

    peer: str
    host: str
    port: int
    incarnation: int
    rebuttals: int = 0
    status: Status = "alive"
    accuser: str = ""
    proof: bytes = b""

    def __post_init__(self) -> None:
        _check_name("peer", self.peer)
        _check_address(self.host, self.port)
        _check_range(0, MAX_INCARNATION - 1, incarnation=self.incarnation)
        _check_range(0, MAX_REBUTTALS, rebuttals=self.rebuttals)
        if self.accuser:
            _check_name("accuser", self.accuser)
        _check_length("proof", self.proof, MAX_PROOF_BYTES)

    @property
    def version(self) -> tuple[int, int, int]:
        """Which of two sayings about one peer is the newer one: incarnation, rebuttals, status."""
        return self.incarnation, self.rebuttals, STATUSES.index(self.status)

    @property
    def address(self) -> tuple[str, int]:
        """Where the peer listens."""
        return self.host, self.port

    @property
    def gone(self) -> bool:
        """Whether it is dead or has left."""
        return self.status in ("dead", "left")


@message("gossip.model")
class ModelInfo:
    """What is said about the model of one peer: the entry `model/<owner>`, without the model's bytes.

    Attributes:
        owner: Whose model it is.
        incarnation: In which of its lives the owner wrote it.
        version: The logical time of writing.
        samples: How many samples it was trained on; 0 when it is withdrawn.
        size: Its bytes; 0 when it is withdrawn.
        content: Its SHA-256; empty when it is withdrawn.
        proof: Seal of the owner over all of this; empty where nothing is sealed.
    """

    owner: str
    incarnation: int
    version: int
    samples: int
    size: int
    content: bytes
    proof: bytes = b""

    def __post_init__(self) -> None:
        _check_name("owner", self.owner)
        _check_range(0, MAX_INCARNATION - 1, incarnation=self.incarnation)
        check_time(self.version)
        if self.content:
            _check_range(CONTENT_BYTES, CONTENT_BYTES, length_of_content=len(self.content))
            _check_range(1, 2**53, samples=self.samples)
            _check_range(1, MAX_MODEL_BYTES, size=self.size)
        else:
            _check_range(0, 0, samples=self.samples, size=self.size)
        _check_length("proof", self.proof, MAX_PROOF_BYTES)

    @property
    def withdrawn(self) -> bool:
        """Whether the owner has taken its model back."""
        return not self.content


# --- before a life begins -------------------------------------------------------------------------


@message("gossip.sighting")
class GossipSighting:
    """What I know of you.

    Attributes:
        sender: Who answers. The name that was asked for, when another process lives under it.
        incarnation: The latest life of the asker that was seen, in its own info or on its model; 0 for none.
        time: What the sender's clock shows.
        last_address: Where the asker was last said to be alive, as (host, port); None when it was not.
        others: Addresses of peers that can be asked as well, at most 16.
        proof: Where words are sealed, and somebody of the sender's name asked: the seal of that name on its
            question. Else whoever is asked could say that it lives under the name, and keep its owner out.
    """

    sender: str
    incarnation: int
    time: int
    last_address: tuple[str, int] | None
    others: tuple[tuple[str, int], ...]
    proof: bytes = b""

    def __post_init__(self) -> None:
        _check_name("sender", self.sender)
        _check_length("proof", self.proof, MAX_PROOF_BYTES)
        _check_range(0, MAX_INCARNATION - 1, incarnation=self.incarnation)
        check_time(self.time)
        _check_length("others", self.others, MAX_NEWS)
        for address in (*self.others, *([self.last_address] if self.last_address else [])):
            _check_address(*address)


@message("gossip.survey")
class GossipSurvey(Request[GossipSighting]):
    """A peer that starts asks what is known of it.

    Attributes:
        peer: Its name.
        salt: What it draws by chance for its lives, 0 to 2**32 - 1: who hears its own asks itself.
    """

    peer: str
    salt: int = 0

    def __post_init__(self) -> None:
        _check_name("peer", self.peer)
        _check_range(0, 2**SALT_BITS - 1, salt=self.salt)


# --- membership -----------------------------------------------------------------------------------


@message("gossip.peer_join")
class GossipPeerJoin:
    """I am here, tell me who else is.

    Attributes:
        info: Who and where the sender is.
    """

    info: PeerInfo

    @property
    def sender(self) -> str:
        """Who joins."""
        return self.info.peer


@message("gossip.welcome")
class GossipWelcome:
    """Some who are here. The exchange tells of the others.

    Attributes:
        sender: Who answers.
        peers: Infos, the sender's own first. Also what it holds against the one that joins.
    """

    sender: str
    peers: tuple[PeerInfo, ...]

    def __post_init__(self) -> None:
        _check_name("sender", self.sender)
        _check_length("peers", self.peers, 4 * MAX_NEWS)


@message("gossip.ping")
class GossipPing:
    """Are you there?

    Attributes:
        number: Of the question, for the answer.
        info: Who asks.
        target: Who is meant: an address may have passed to another peer.
        news: What changed lately. What is held against the target comes first.
    """

    number: int
    info: PeerInfo
    target: str
    news: tuple[PeerInfo, ...] = ()

    def __post_init__(self) -> None:
        _check_range(0, 2**62, number=self.number)
        _check_name("target", self.target)
        _check_length("news", self.news, MAX_NEWS)

    @property
    def sender(self) -> str:
        """Who asks."""
        return self.info.peer


@message("gossip.ack")
class GossipAck:
    """I am there; or, from one who was asked to look: it is there.

    Attributes:
        number: Of the question.
        sender: Who answers.
        info: Who is there.
        news: As in `GossipPing`.
    """

    number: int
    sender: str
    info: PeerInfo
    news: tuple[PeerInfo, ...] = ()

    def __post_init__(self) -> None:
        _check_range(0, 2**62, number=self.number)
        _check_name("sender", self.sender)
        _check_length("news", self.news, MAX_NEWS)


@message("gossip.ping_request")
class GossipPingRequest:
    """I do not hear from that peer; do you?

    Attributes:
        number: Of the question.
        info: Who asks.
        target: Whom to look for.
    """

    number: int
    info: PeerInfo
    target: PeerInfo

    def __post_init__(self) -> None:
        _check_range(0, 2**62, number=self.number)

    @property
    def sender(self) -> str:
        """Who asks."""
        return self.info.peer


@message("gossip.nack")
class GossipNack:
    """I do not hear from it either. It shows at least that the asker's own network works.

    Attributes:
        number: Of the question.
        sender: Who answers.
    """

    number: int
    sender: str

    def __post_init__(self) -> None:
        _check_range(0, 2**62, number=self.number)
        _check_name("sender", self.sender)


# --- exchange -------------------------------------------------------------------------------------


@message("gossip.syn")
class GossipSyn:
    """This is what I know, in a few bytes. Do you know the same?

    Attributes:
        sender: Who asks.
        time: What its clock shows.
        peers: Summary of what it knows of peers: see `digest.py`.
        models: Summary of the models that it holds.
    """

    sender: str
    time: int
    peers: bytes
    models: bytes

    def __post_init__(self) -> None:
        _check_name("sender", self.sender)
        check_time(self.time)
        _check_summary("peers", self.peers)
        _check_summary("models", self.models)


@message("gossip.equal")
class GossipEqual:
    """I know the same.

    Attributes:
        sender: Who answers.
    """

    sender: str

    def __post_init__(self) -> None:
        _check_name("sender", self.sender)


@message("gossip.rows")
class Rows:
    """One table, as far as the two sides differ in it.

    Attributes:
        mask: Which buckets of the table differ, a bit for each.
        summary: Of the whole table.
        rows: All rows of those buckets, one behind the other.
    """

    mask: int
    summary: bytes
    rows: bytes

    def __post_init__(self) -> None:
        _check_range(0, 255, mask=self.mask)
        _check_summary("summary", self.summary)
        _check_rows("rows", self.rows, ROW_BYTES)


@message("gossip.digest")
class GossipDigest:
    """We differ. This is what I have, there.

    Attributes:
        sender: Who answers.
        time: What its clock shows.
        peers: Rows of peers.
        models: Rows of models.
    """

    sender: str
    time: int
    peers: Rows
    models: Rows

    def __post_init__(self) -> None:
        _check_name("sender", self.sender)
        check_time(self.time)


@message("gossip.delta")
class GossipDelta:
    """This is what you lack, and that is what I lack.

    Attributes:
        sender: Who compared.
        peers: Infos that the receiver lacks.
        models: Model infos that it lacks. It asks for the bytes, where it needs them.
        want_peers: Key hashes of infos that the sender lacks, one behind the other.
        want_models: Key hashes of model infos that it lacks.
        closes: Whether this is the answer to such a message, and nothing more is to be said.
    """

    sender: str
    peers: tuple[PeerInfo, ...]
    models: tuple[ModelInfo, ...]
    want_peers: bytes = b""
    want_models: bytes = b""
    closes: bool = False

    def __post_init__(self) -> None:
        _check_name("sender", self.sender)
        _check_length("peers", self.peers, MAX_PEERS)
        _check_length("models", self.models, MAX_PEERS)
        _check_rows("want_peers", self.want_peers, KEY_HASH_BYTES)
        _check_rows("want_models", self.want_models, KEY_HASH_BYTES)


@message("gossip.announce")
class GossipAnnounce:
    """There is a new model, and I have it.

    Attributes:
        sender: Who has it.
        model: Which.
    """

    sender: str
    model: ModelInfo

    def __post_init__(self) -> None:
        _check_name("sender", self.sender)


@message("gossip.want")
class GossipWant:
    """Send me these pieces of a model.

    Attributes:
        sender: Who asks.
        owner: Whose model. A peer that has a newer one by now tells of it instead.
        content: The model's SHA-256.
        pieces: Their numbers, from 0.
        ask: Number of the question, for the answers.
    """

    sender: str
    owner: str
    content: bytes
    pieces: tuple[int, ...]
    ask: int

    def __post_init__(self) -> None:
        _check_range(0, 2**62, ask=self.ask)
        _check_name("sender", self.sender)
        _check_name("owner", self.owner)
        _check_range(CONTENT_BYTES, CONTENT_BYTES, length_of_content=len(self.content))
        _check_length("pieces", self.pieces, MAX_PIECES_PER_WANT)
        for number in self.pieces:
            _check_range(0, MAX_MODEL_BYTES // PIECE_BYTES, piece=number)


@message("gossip.piece")
class GossipPiece:
    """A piece of a model.

    Attributes:
        sender: Who sends it.
        content: The model's SHA-256.
        number: Which piece, from 0.
        data: Its bytes: `PIECE_BYTES`, less in the last one.
        ask: Number of the question that it answers: so a late answer to the first is told from a quick one to
            the second.
    """

    sender: str
    content: bytes
    number: int
    data: bytes
    ask: int

    def __post_init__(self) -> None:
        _check_range(0, 2**62, ask=self.ask)
        _check_name("sender", self.sender)
        _check_range(CONTENT_BYTES, CONTENT_BYTES, length_of_content=len(self.content))
        _check_range(0, MAX_MODEL_BYTES // PIECE_BYTES, number=self.number)
        _check_length("data", self.data, PIECE_BYTES)


# --- to the reporter ------------------------------------------------------------------------------


@message("gossip.state")
class GossipState:
    """How a peer is doing, for the reporter.

    Attributes:
        peer: Who.
        round: How many rounds it has trained.
        delta: How far its model is from its last average: the Euclidean distance over all weights.
        accuracy: Of its average on the evaluation region, 0 to 1; None when it has none.
        known_peers: How many peers it knows, itself included.
        live_peers: How many of them it takes for alive.
        models: How many models its average is made of.
        bytes_in: Bytes received since it started.
        bytes_out: Bytes sent since it started.
        average: SHA-256 of its average, in hexadecimal digits: equal for equal bytes; empty for none.
        finished: Whether it has trained all its rounds.
    """

    peer: str
    round: int
    delta: float
    accuracy: float | None
    known_peers: int
    live_peers: int
    models: int
    bytes_in: int
    bytes_out: int
    average: str
    finished: bool

    def __post_init__(self) -> None:
        _check_name("peer", self.peer)
        counts = {name: getattr(self, name) for name in ("round", "known_peers", "live_peers", "models")}
        _check_range(0, 2**53, **counts, bytes_in=self.bytes_in, bytes_out=self.bytes_out)
        if not (math.isfinite(self.delta) and self.delta >= 0):
            raise ValueError(f"delta={self.delta}; a distance is a finite number, 0 or more")
        if self.accuracy is not None and not 0 <= self.accuracy <= 1:
            raise ValueError(f"accuracy={self.accuracy}; a share lies between 0 and 1")
        if len(self.average) not in (0, 64):
            raise ValueError(f"average has {len(self.average)} characters; a SHA-256 has 64")


@message("gossip.state_request")
class GossipStateRequest(Request[GossipState]):
    """How are you doing?"""


MESSAGES: tuple[type[Any], ...] = (
    PeerInfo,
    ModelInfo,
    GossipSighting,
    GossipSurvey,
    GossipPeerJoin,
    GossipWelcome,
    GossipPing,
    GossipAck,
    GossipPingRequest,
    GossipNack,
    GossipSyn,
    GossipEqual,
    Rows,
    GossipDigest,
    GossipDelta,
    GossipAnnounce,
    GossipWant,
    GossipPiece,
    GossipState,
    GossipStateRequest,
)
