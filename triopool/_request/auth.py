"""Credentials: what goes into the Authorization field, and nowhere else.

No message and no ``repr`` shows any part of them, the name included.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TypeAlias

from .._config import type_of

_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")
_VISIBLE = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True, repr=False)
class BasicAuth:
    """A name and a password (RFC 7617), sent as UTF-8.

    Raises:
      TypeError: one of them is no str.
      ValueError: the name has a colon in it, or one of them has a control character: these can't
        be sent.
    """

    username: str
    password: str

    def __post_init__(self) -> None:
        for text in (self.username, self.password):
            _check_str(text, "BasicAuth needs a name and a password, both str")
        if ":" in self.username:
            raise ValueError("a name for Basic authentication can't have a colon in it")
        both = self.username + self.password
        if _CONTROL_CHARACTER.search(both) or not _is_encodable(both):
            raise ValueError(
                "credentials can't have control characters or half a surrogate pair in them"
            )

    def field_value(self) -> str:
        """The value of the Authorization field."""
        both = f"{self.username}:{self.password}".encode()
        return f"Basic {base64.b64encode(both).decode('ascii')}"

    def __repr__(self) -> str:
        return "BasicAuth(...)"


@dataclass(frozen=True, slots=True, repr=False)
class BearerAuth:
    """A token (RFC 6750).

    Raises:
      TypeError: it is no str.
      ValueError: it is empty, or has something else in it than visible ASCII characters.
    """

    token: str

    def __post_init__(self) -> None:
        _check_str(self.token, "BearerAuth needs a token, a str")
        # More than RFC 6750 section 2.1 has: some servers issue tokens with "|" or ":" in them.
        if not _VISIBLE.fullmatch(self.token):
            raise ValueError(
                "a bearer token is made of visible ASCII characters (is there a newline behind it?)"
            )

    def field_value(self) -> str:
        """The value of the Authorization field."""
        return f"Bearer {self.token}"

    def __repr__(self) -> str:
        return "BearerAuth(...)"


Auth: TypeAlias = BasicAuth | BearerAuth
AuthOption: TypeAlias = Auth | tuple[str, str]
"""What the user may give for one."""


def check_auth(auth: object) -> Auth | None:
    """What the user gave as ``auth=``: one of the above, or a pair of name and password.

    Raises:
      TypeError: it is something else. The message names its type only.
      ValueError: as the classes above.
    """
    if auth is None or isinstance(auth, BasicAuth | BearerAuth):
        return auth
    if isinstance(auth, tuple) and len(auth) == 2:
        return BasicAuth(*auth)
    given = f"a tuple of {len(auth)}" if isinstance(auth, tuple) else type_of(auth)
    raise TypeError(
        "auth must be triopool.BasicAuth, triopool.BearerAuth, or a pair (name, password), "
        f"not {given}"
    )


def _check_str(value: object, message: str) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{message}, not {type(value).__name__}")


def _is_encodable(text: str) -> bool:
    # Asked here, without raising: Python's own error quotes the text.
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
