"""What the server answers, whichever it is, and how an answer is checked."""

from __future__ import annotations

SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 50_000_000)
"""Of downloads and uploads."""


def body(size: int) -> bytes:
    """What /2000 and /bytes/N have in them."""
    line = b"0123456789abcde\n"
    return (line * (size // len(line) + 1))[:size]


def check_upload(answer: bytes, size: int) -> None:
    """See that /upload has read a body of *size* bytes."""
    announced, read = map(int, answer.split())
    if announced != size or read < size:
        raise ValueError(f"the server read {read} bytes of {size}, and was told of {announced}")
