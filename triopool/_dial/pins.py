"""Pins: which certificates an origin may show, whatever its context accepts.

They are looked at when the handshake is over, for Python lets nobody look before, and before the
connection belongs to anybody: so nothing of a request has been sent. It is done on each dial, also
where a session is resumed: that has its server's certificate with it.

A pin is the SHA-256 of a public key, which stays the same when a certificate is renewed, or of a
certificate. Both are asked for each pin: what has the one can't be made to have the other.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import ssl
from collections.abc import Mapping

from .._errors import TLSError
from .._pool_key import PoolKey

_SEQUENCE, _INTEGER, _VERSION = 0x30, 0x02, 0xA0
# RFC 5280 section 4.1: what stands before the key, but for the version, which may be missing.
_BEFORE_THE_KEY = (_INTEGER, _SEQUENCE, _SEQUENCE, _SEQUENCE, _SEQUENCE)


class Pins:
    """The pins of one pool.

    Args:
      by_host: some SHA-256 for each host, which is written as an origin has it.
    """

    def __init__(self, by_host: Mapping[str, frozenset[bytes]]) -> None:
        self._by_host = {_canonical(host): digests for host, digests in by_host.items()}

    def check(self, key: PoolKey, tls: ssl.SSLObject) -> None:
        """See that the peer of a handshake is whom the pins allow for *key*.

        Pins for the URL's host count, and those for its ``server_hostname``.

        Raises:
          TLSError: it is another one. The message tells what was seen.
        """
        for host in {key.origin.host, key.server_hostname or key.origin.host}:
            allowed = self._by_host.get(_canonical(host))
            if allowed is not None:
                _check(host, allowed, key, tls.getpeercert(binary_form=True))


def _check(host: str, allowed: frozenset[bytes], key: PoolKey, certificate: bytes | None) -> None:
    if certificate is None:
        seen = "it has shown none"
    else:
        public_key = public_key_of(certificate)
        digest, of_the_key = hashlib.sha256(certificate), hashlib.sha256(public_key)
        if digest.digest() in allowed or (public_key and of_the_key.digest() in allowed):
            return
        shown = base64.b64encode(of_the_key.digest()).decode("ascii")
        seen = f"its public key is sha256/{shown}, the certificate itself {digest.hexdigest()}"
    raise TLSError(
        f"the certificate of {host} is not one that pins= allows: {seen}",
        origin=key.origin,
        phase="connect",
    )


def _canonical(host: str) -> str:
    """A host in the one spelling by which it is looked up: no other one leads past a pin."""
    host = host.partition("%")[0].removesuffix(".")
    return str(ipaddress.IPv6Address(host)) if ":" in host else host


# ── Certificates ───────────────────────────────────────────────────────────────────────────────


def public_key_of(certificate: bytes) -> bytes:
    """The SubjectPublicKeyInfo of a certificate, as it stands there (RFC 5280 section 4.1).

    OpenSSL has read the certificate, and says it in DER. What is not, is not guessed at: then this
    is empty, and no pin of a key fits.
    """
    try:
        _, at, _ = _element(certificate, 0, _SEQUENCE)
        _, at, _ = _element(certificate, at, _SEQUENCE)
        tag, _, end = _element(certificate, at)
        if tag == _VERSION:
            at = end
        for expected in _BEFORE_THE_KEY:
            _, _, at = _element(certificate, at, expected)
        _, _, end = _element(certificate, at, _SEQUENCE)
    except (IndexError, ValueError):
        return b""
    return certificate[at:end]


def _element(data: bytes, at: int, expected: int | None = None) -> tuple[int, int, int]:
    """An element of DER: its tag, where its contents begin, and where they end.

    Raises:
      ValueError, IndexError: there is none, or not the one that is *expected*.
    """
    tag, length, begin = data[at], data[at + 1], at + 2
    if length >= 0x80:
        # How many bytes the length has; none of them would be BER's "until it ends".
        size = length & 0x7F
        length = int.from_bytes(data[begin : begin + size], "big")
        begin += size
        if not 0 < size <= 4:
            raise ValueError("a length that is no DER")
    end = begin + length
    if end > len(data) or tag != (expected or tag):
        raise ValueError("another element, or one that is cut")
    return tag, begin, end
