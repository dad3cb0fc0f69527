"""The option ``pins=``: which certificates a host may show."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from .._config import described
from .url import check_server_hostname

PinsOption: TypeAlias = Mapping[str, str | Iterable[str]]

_IN_BASE64 = re.compile(r"sha256//?([A-Za-z0-9+/]{43}=)")
_IN_HEX = re.compile(r"[0-9A-Fa-f]{64}|[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){31}")

# What a pipe of commands says whose first one has failed.
_OF_NOTHING = hashlib.sha256(b"").digest()

_WHAT_IT_IS = (
    "a SHA-256, as 'sha256/' and 44 characters of Base64, or as 64 hexadecimal digits with or "
    "without colons"
)


def check_pins(pins: object) -> dict[str, frozenset[bytes]]:
    """What the user gave as ``pins=``: for each host, as an origin has it, some SHA-256.

    Raises:
      TypeError, ValueError: it is something else.
    """
    if not isinstance(pins, Mapping):
        raise TypeError(
            "pins must be a mapping of hosts to fingerprints, such as "
            f"{{'api.example.org': 'sha256/...'}}, not {described(pins)}"
        )
    return {_host(host): _digests(given) for host, given in pins.items()}


def _host(host: object) -> str:
    if not isinstance(host, str):
        raise TypeError(f"a host in pins must be a str, not {described(host)}")
    if "/" in host or "*" in host or not host:
        raise ValueError(
            "a host in pins is a name or an address, such as 'api.example.org': no URL, no "
            "wildcard, and not empty"
        )
    return check_server_hostname(host, "a host in pins")


def _digests(given: object) -> frozenset[bytes]:
    if not isinstance(given, Iterable) or isinstance(given, bytes | Mapping):
        raise TypeError(f"a fingerprint in pins must be a str, not {described(given)}")
    digests = frozenset(map(_digest, [given] if isinstance(given, str) else given))
    if not digests:
        raise ValueError("a host in pins has no fingerprint: it could never be reached")
    return digests


def _digest(text: object) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"a fingerprint in pins must be a str, not {described(text)}")
    if match := _IN_BASE64.fullmatch(text):
        digest = base64.b64decode(match[1])
    elif _IN_HEX.fullmatch(text):
        digest = binascii.unhexlify(text.replace(":", ""))
    else:
        raise ValueError(f"a fingerprint in pins is {_WHAT_IT_IS}")
    if digest == _OF_NOTHING:
        raise ValueError("a fingerprint in pins is that of nothing: what made it has failed")
    return digest
