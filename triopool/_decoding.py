"""Content codings (RFC 9110 section 8.4.1): from the bytes that came to those that were meant.

Nothing here waits or reads: bytes are fed in, and pieces are asked for until there is none.

What makes it tricky is that a few bytes can stand for very many: 54 bytes of brotli are 64 MiB of
zeros. A decoder that turns all its input into output, as each library's plain call does, lets any
server fill the memory. So output is made only when it is asked for, and at most PIECE_BYTES at a
time. Each library has its own way to stop when there is enough output, and to go on from there;
the classes here called members make them one: ``decode`` gives a piece, ``hungry`` says whether it
needs more input, ``finished`` that its data have come to their end, ``rest`` what lay behind that.

Two things are quadratic if done naively. zlib hands back the input that it did not use, as a copy,
each time; and a short member among thousands leaves a copy of all that follows it. So a member
gets its input in slices of SLICE_BYTES, and no copy is longer than that.

Time is bounded too: all this runs between two checkpoints. Asking for a piece takes long if much
goes in and nothing comes out, which no honest data do, but others can: thousands of frames with
nothing in them; or, where two codings are chained, gigabytes that the second one skips as a file's
name in a header. So it is an error if more than IN_VAIN_BYTES go in before anything comes out.

What is behind the end differs, and is kept to what others do:

- gzip data may have several members (RFC 1952 section 2.2). Anything else behind a member is
  ignored, as curl and browsers ignore it: some servers pad. Behind deflate data, too. It counts
  as going in in vain.
- zstd data may have several frames (RFC 8878 section 3.1), and nothing else.
- brotli data have one end (RFC 7932), and nothing behind it.

What was decoded before an error may have been delivered, to a caller that reads a body in pieces.
And no checksum but that of gzip and zlib data is sure to be there.

Long because it is one idea told in order: what bounds the output of one library bounds it for all.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

MAX_ENCODINGS = 2
"""More than one is rare, more than two is an attack: each of them can blow up the other's output.
Picked arbitrarily."""

PIECE_BYTES = 64 * 1024
"""The most that one piece of output has."""

SLICE_BYTES = 16 * 1024
"""The most that a member gets at once. Picked by measuring: smaller slices make no bomb faster, and
make smaller pieces of what is not one."""

IN_VAIN_BYTES = 4 * 1024 * 1024
"""The most that goes in without anything coming out. An honest coding needs 128 KiB at most: that
is a block of zstd (RFC 8878 section 3.1.1.2.4), which has to be there before it is decoded."""

MEMBER_COSTS_BYTES = 4 * 1024
"""What the end of a member counts for in that sum, beside its bytes: to begin the next one may take
as long as to decode some KiB. So at most a thousand empty ones follow each other."""

ZSTD_WINDOW_LOG_MAX = 23
"""8 MiB: what every decoder has to support, and no encoder may exceed (RFC 9659 section 3)."""

_BROTLI_LIMIT = 16 * 1024
"""Brotli stops behind the block of output that reaches its limit. The blocks grow: the first has
32 KiB, and with the second they are more than PIECE_BYTES."""

_GZIP_MAGIC = b"\x1f\x8b"


class DecodingError(ValueError):
    """The body is not what its Content-Encoding says. The message is to follow "... sent "."""


# ── Members: the libraries' ways, made one ─────────────────────────────────────────────────────


class _Member(Protocol):
    """Decodes what has one beginning and one end: a member of gzip data, a frame of zstd data."""

    @property
    def hungry(self) -> bool:
        """It gives nothing more without new input. Unless it is, *decode* gets none."""
        ...

    @property
    def finished(self) -> bool: ...

    @property
    def rest(self) -> bytes:
        """Once it is finished: how much it left of the last input that it got."""
        ...

    def decode(self, data: bytes) -> bytes:
        """Give what comes next, at most PIECE_BYTES; perhaps nothing."""
        ...


class _ZlibMember:
    def __init__(self, window_bits: int) -> None:
        self._decompressor = zlib.decompressobj(window_bits)
        self.hungry = True

    @property
    def finished(self) -> bool:
        return self._decompressor.eof

    @property
    def rest(self) -> bytes:
        return self._decompressor.unused_data

    def decode(self, data: bytes) -> bytes:
        piece = self._decompressor.decompress(
            data or self._decompressor.unconsumed_tail, PIECE_BYTES
        )
        # A full piece may hide that there is more, even if all of the input is used.
        self.hungry = len(piece) < PIECE_BYTES
        return piece


class _BrotliMember:
    rest = b""  # The library raises if there is any.

    def __init__(self, brotli: Any) -> None:
        self._decompressor = brotli.Decompressor()
        self.hungry = True

    @property
    def finished(self) -> bool:
        finished: bool = self._decompressor.is_finished()
        return finished

    def decode(self, data: bytes) -> bytes:
        piece: bytes = self._decompressor.process(data, output_buffer_limit=_BROTLI_LIMIT)
        # It can accept more as soon as its input is used, though there may be more output.
        accepts: bool = self._decompressor.can_accept_more_data()
        self.hungry = accepts and len(piece) < _BROTLI_LIMIT
        return piece


class _ZstdMember:
    def __init__(self, zstd: Any) -> None:
        self._decompressor = zstd.ZstdDecompressor(
            options={zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG_MAX}
        )

    @property
    def hungry(self) -> bool:
        hungry: bool = self._decompressor.needs_input
        return hungry

    @property
    def finished(self) -> bool:
        finished: bool = self._decompressor.eof
        return finished

    @property
    def rest(self) -> bytes:
        rest: bytes = self._decompressor.unused_data
        return rest

    def decode(self, data: bytes) -> bytes:
        piece: bytes = self._decompressor.decompress(data, PIECE_BYTES)
        return piece


class _Ignored:
    """What is behind the last member, as if it were one that never ends and has nothing in it."""

    hungry = True
    finished = False
    rest = b""

    def decode(self, data: bytes) -> bytes:
        return b""


# ── Codings: what may begin where ──────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Coding:
    """One content coding.

    Attributes:
      name: for a person.
      error: what the library raises if the data are wrong.
      begin: makes the member that begins with these bytes, one or two of them; None if it takes
        the second one to tell. The other argument says whether it is the first of the body.
    """

    name: str
    error: type[Exception]
    begin: Callable[[bytes, bool], _Member | None]


def _begin_gzip(head: bytes, first: bool) -> _Member | None:
    if first or head == _GZIP_MAGIC:
        return _ZlibMember(16 + zlib.MAX_WBITS)
    # At the end of the data a lone first byte is a member cut off, not something to ignore.
    return None if head == _GZIP_MAGIC[:1] else _Ignored()


def _begin_deflate(head: bytes, first: bool) -> _Member | None:
    """Tell the zlib format, which "deflate" means, from raw deflate data, which many send.

    The zlib header (RFC 1950 section 2.2) can't be mistaken: as raw data it would be a stored block
    with a bit set among those to be skipped (RFC 1951 section 3.2.4), and nobody sets them.
    """
    if not first:
        return _Ignored()
    if len(head) < 2:
        return None
    is_deflate = head[0] & 0x0F == 8
    window_fits = head[0] >> 4 <= 7
    checks = int.from_bytes(head, "big") % 31 == 0
    is_zlib = is_deflate and window_fits and checks
    return _ZlibMember(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)


def _begin_brotli(brotli: Any, first: bool) -> _Member:
    if not first:
        raise DecodingError("brotli data that go on behind their end")
    return _BrotliMember(brotli)


def find_codings(
    import_module: Callable[[str], ModuleType] = importlib.import_module,
) -> dict[str, _Coding]:
    """What can be decoded here, by its name in Content-Encoding (IANA's registry), lower case."""
    codings = {
        "gzip": _Coding("gzip", zlib.error, _begin_gzip),
        "deflate": _Coding("deflate", zlib.error, _begin_deflate),
    }
    # Both by a name that type checkers don't follow: neither has to be there.
    brotli: Any = import_first(import_module, "brotli")
    # Before 1.2 its output has no bound.
    if brotli is not None and hasattr(brotli.Decompressor, "can_accept_more_data"):
        codings["br"] = _Coding(
            "brotli", brotli.error, lambda head, first: _begin_brotli(brotli, first)
        )
    zstd: Any = import_first(import_module, "compression.zstd", "backports.zstd")
    if zstd is not None:
        codings["zstd"] = _Coding("zstd", zstd.ZstdError, lambda head, first: _ZstdMember(zstd))
    return codings


def import_first(import_module: Callable[[str], ModuleType], *names: str) -> ModuleType | None:
    for name in names:
        try:
            return import_module(name)
        except ImportError:
            # Not there, or not for this Python: either way it can't be used.
            continue
    return None


CODINGS = find_codings()

ALIASES = {"x-gzip": "gzip"}
"""RFC 9110 section 8.4.1.3."""

ACCEPT_ENCODING = ", ".join(CODINGS)
"""What to send as Accept-Encoding."""


# ── The decoder: a chain of stages, one for each coding ────────────────────────────────────────


class _Stage:
    """Decodes one coding, member by member."""

    def __init__(self, coding: _Coding) -> None:
        self._coding = coding
        # None before the first member, and where the next one may begin.
        self._member: _Member | None = None
        self._first = True
        # What came, of which everything before `_at` has been handed on.
        self._input = b""
        self._at = 0
        self._in_vain = 0

    def feed(self, data: bytes) -> None:
        # Nothing is copied if everything has been handed on.
        self._input = self._input[self._at :] + data
        self._at = 0

    def next_piece(self) -> bytes:
        while member := self._member or self._begin():
            data = self._take() if member.hungry else b""
            if member.hungry and not data:
                break
            if piece := self._decode(member, data):
                return piece
        return b""

    def end(self) -> None:
        inside = not isinstance(self._member, _Ignored | None)
        undecided = self._at < len(self._input)
        if inside or undecided:
            raise DecodingError(f"{self._coding.name} data that end too early")

    def _begin(self) -> _Member | None:
        head = self._input[self._at : self._at + 2]
        if head:
            self._member = self._coding.begin(head, self._first)
            self._first = self._first and self._member is None
        return self._member

    def _take(self) -> bytes:
        data = self._input[self._at : self._at + SLICE_BYTES]
        self._at += len(data)
        return data

    def _decode(self, member: _Member, data: bytes) -> bytes:
        """One piece of output, perhaps an empty one; *data* is what the member gets for it."""
        try:
            piece = member.decode(data)
        except self._coding.error as exc:
            # The library's own words: nothing that the server sent is in them.
            why = str(exc).rpartition(": ")[2]
            raise DecodingError(f"{self._coding.name} data that can't be decoded: {why}") from exc
        if member.finished:
            self._at -= len(member.rest)
            self._member = None
        if piece:
            self._in_vain = 0
        else:
            self._count_in_vain(member, data)
        return piece

    def _count_in_vain(self, member: _Member, data: bytes) -> None:
        # Output is bounded by being asked for. This bounds time: input that gives no output at all
        # would keep us in one long step, with no checkpoint in it. So we count what has gone in
        # since the last output, and for each member that has ended a price for the next one. What
        # a member has left over is taken again, and not counted twice.
        self._in_vain += len(data)
        if member.finished:
            self._in_vain += MEMBER_COSTS_BYTES - len(member.rest)
        if self._in_vain > IN_VAIN_BYTES:
            raise DecodingError(f"{self._coding.name} data that go on and on with nothing in them")


class Decoder:
    """Decodes one body. Made by :func:`make_decoder`.

    Feed it, ask for pieces until there is none, and so on; at last say that it was the end. After
    a DecodingError it is of no more use.
    """

    def __init__(self, codings: list[_Coding]) -> None:
        """*codings* in the order in which they are to be undone."""
        self._stages = [_Stage(coding) for coding in codings]

    def feed(self, data: bytes) -> None:
        """Take the next bytes as they came.

        They are kept until they are decoded. So nothing grows if this is called only when
        *next_piece* gave nothing.
        """
        self._stages[0].feed(data)

    def next_piece(self) -> bytes:
        """Give at most PIECE_BYTES of what was meant; nothing if that takes more input.

        Raises:
          DecodingError: what was fed can't be decoded.
        """
        at = last = len(self._stages) - 1
        # Begin at the last stage, whose output is the body. A stage that has nothing to give needs
        # input, so we step back to the stage before it; a piece that we get there goes one stage
        # forward. Each step moves at most one piece, so no stage ever holds more than a piece of
        # another one's output. If the first stage has nothing to give, more has to be fed.
        while at >= 0:
            piece = self._stages[at].next_piece()
            if not piece:
                at -= 1
            elif at == last:
                return piece
            else:
                at += 1
                self._stages[at].feed(piece)
        return b""

    def end(self) -> None:
        """Say that no more input comes, after *next_piece* gave nothing.

        A body without a single byte is fine, as the answer to HEAD has.

        Raises:
          DecodingError: the data are incomplete.
        """
        for stage in self._stages:
            stage.end()


def make_decoder(content_encoding: str) -> Decoder | None:
    """Make what decodes a body with this Content-Encoding; None if there is nothing to decode.

    Nothing is decoded either if one of the codings is unknown here: then the bytes are delivered as
    they came, and the caller has the header to go by.

    Args:
      content_encoding: the value of the field; of several ones, joined by ", ".

    Raises:
      DecodingError: there are more than MAX_ENCODINGS.
    """
    members = [member.strip(" \t").lower() for member in content_encoding.split(",")]
    names = [ALIASES.get(name, name) for name in members if name not in ("", "identity")]
    codings = [CODINGS[name] for name in names if name in CODINGS]
    if not names or len(codings) < len(names):
        return None
    if len(codings) > MAX_ENCODINGS:
        raise DecodingError(
            f"data that are encoded {len(codings)} times over: at most {MAX_ENCODINGS} are decoded"
        )
    # They are listed in the order in which they were applied (RFC 9110 section 8.4).
    return Decoder(codings[::-1])
