"""Cookies in a file: the Netscape format, which curl, wget and exports of browsers have.

A line for each cookie, seven fields with tabs between them: domain, whether it is for the hosts
below as well, path, whether it is for https only, when it expires (0: with the session), name,
value. ``#HttpOnly_`` in front of the domain marks a cookie that scripts in a browser don't see.

Written and read as bytes, for what a server sets is bytes. ``http.cookiejar`` would write them in
the encoding of the place, and its error for a line that it can't read quotes the line.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from .set_cookie import CONTROL, HTTP_ONLY, make

if TYPE_CHECKING:
    from http.cookiejar import Cookie

_HEAD = b"# Netscape HTTP Cookie File\n"
_HTTP_ONLY = b"#HttpOnly_"
_WHEN = re.compile(rb"(?:[0-9]{1,15}(?:\.[0-9]*)?)?")


def octets(text: str) -> bytes:
    """What goes over the wire for a part of a cookie; text from elsewhere as UTF-8."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


def write(path: str, cookies: Iterable[Cookie]) -> None:
    """Write a file that only its owner may read. The old one is there until the new one is whole.

    Raises:
      OSError: it can't be written.
    """
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path) or ".", prefix=".cookies-")
    try:
        with open(descriptor, "wb") as file:
            file.writelines([_HEAD, *map(_line, cookies)])
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _line(cookie: Cookie) -> bytes:
    below = cookie.domain.startswith(".")
    fields = [
        cookie.domain,
        "TRUE" if below else "FALSE",
        cookie.path,
        "TRUE" if cookie.secure else "FALSE",
        str(cookie.expires or 0),
        cookie.name,
        cookie.value or "",
    ]
    line = b"\t".join(map(octets, fields)) + b"\n"
    return _HTTP_ONLY + line if cookie.has_nonstandard_attr(HTTP_ONLY) else line


def read(path: str) -> list[Cookie]:
    """The cookies of a file.

    Raises:
      OSError: it can't be read.
      ValueError: it is no such file; the message names the line, and does not quote it.
    """
    with open(path, "rb") as file:
        return list(_cookies(file.read()))


def _cookies(data: bytes) -> Iterator[Cookie]:
    for number, line in enumerate(data.split(b"\n"), 1):
        line = line.removesuffix(b"\r")
        http_only = line.startswith(_HTTP_ONLY)
        line = line.removeprefix(_HTTP_ONLY)
        if not line.strip() or line.startswith(b"#"):
            continue
        fields = line.split(b"\t")
        if (
            len(fields) != 7
            or not fields[0].strip(b".")
            or not _WHEN.fullmatch(fields[4])
            or any(map(CONTROL.search, fields))  # It could never be sent.
        ):
            raise ValueError(
                f"line {number} is not that of a cookie: seven fields with tabs between them, "
                "as curl and wget write them"
            )
        domain, below, path, secure, when, name, value = (
            field.decode("latin-1") for field in fields
        )
        domain = domain.lower().lstrip(".")
        yield make(
            name.strip(" "),
            value.strip(" "),
            domain=f".{domain}" if below == "TRUE" else domain,
            path=path,
            secure=secure == "TRUE",
            expires=int(float(when or 0)) or None,
            http_only=http_only,
        )
