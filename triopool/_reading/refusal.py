"""What the decoders of this room raise. They know no response, and so no origin to name."""

from __future__ import annotations


class NotAccepted(Exception):
    """The server sent what is not taken; the text says what, to stand behind "sent"."""
