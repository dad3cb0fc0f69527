"""How far an exchange has come, for whoever shows it to a person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Progress:
    """What of the two bodies has gone over the wire so far; see ``on_progress=``.

    All in bytes, as they travel: compressed ones where the server compresses.

    Attributes:
      sent: how much of the request's body has been handed to the system.
      to_send: its length; None if that is not known.
      received: how much of the response's body has arrived.
      to_receive: its length; None if the server did not tell, or has not answered yet.
    """

    sent: int
    to_send: int | None
    received: int
    to_receive: int | None


OnProgress: TypeAlias = Callable[[Progress], object]
