"""The two errors that carry a response. The others stand in ``triopool/_errors.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._errors import TriopoolError

if TYPE_CHECKING:
    from .._origin import Origin
    from .response import Response


class RedirectError(TriopoolError):
    """A redirect that was to be followed can't be: too many, or to where it must not lead.

    Attributes:
      response: the response that redirects. Its head can be looked at, its body is closed.
    """

    def __init__(self, message: str, response: Response, *, origin: Origin | None = None) -> None:
        super().__init__(message, origin=origin, phase="read")
        self.response = response


class StatusError(TriopoolError):
    """Raised by :meth:`Response.raise_for_status` for a status of 400 or more.

    Attributes:
      response: the response, whose head (and body, if read) can still be looked at.
    """

    def __init__(self, message: str, response: Response, *, origin: Origin | None = None) -> None:
        super().__init__(message, origin=origin)
        self.response = response
