"""Bytes to text, a piece at a time. No I/O.

Python's incremental decoders do the work; ``errors="replace"``, as for ``response.text``. What they
can't be trusted with:

- **UTF-16 and UTF-32 without a byte order mark.** ``bytes.decode()`` takes them for little-endian
  on most machines, the incremental decoders raise. WHATWG Encoding says little-endian, so we do.
- **ISO-2022.** An escape sequence that never ends is kept, and from some byte on they raise.
- **UTF-7.** Its decoder gives nothing out before a run of base64 has ended. It keeps all of the
  run, and decodes it from its beginning with each piece: memory without bound, and quadratic time.
  So what a decoder holds back has a bound.
"""

from __future__ import annotations

import codecs

from .refusal import NotAccepted

MAX_HELD_BYTES = 4096
"""How many bytes a decoder may hold back; all but UTF-7's need eight. Picked arbitrarily."""


class TextDecoder:
    """Decodes one text. *charset* is one that Python knows."""

    def __init__(self, charset: str) -> None:
        self._charset = charset
        self._decoder = codecs.getincrementaldecoder(charset)("replace")

    def feed(self, piece: bytes, *, last: bool = False) -> str:
        """The text of the next piece, which may be empty.

        Raises:
          NotAccepted: too much of it would have to be kept undecoded.
        """
        held = self._held
        try:
            text = self._decoder.decode(piece, last)
        except UnicodeError:
            name = codecs.lookup(self._charset).name
            if name not in ("utf-16", "utf-32"):
                raise self._refusal() from None
            # Its first bytes, and no byte order mark.
            name += "-le"
            self._decoder = codecs.getincrementaldecoder(name)("replace")
            text = self._decoder.decode(held + piece, last)
        if len(self._held) > MAX_HELD_BYTES:
            raise self._refusal()
        return text

    def _refusal(self) -> NotAccepted:
        return NotAccepted(f"text in {self._charset} that can't be decoded piece by piece")

    @property
    def _held(self) -> bytes:
        return self._decoder.getstate()[0]
