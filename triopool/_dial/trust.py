"""Whom a pool trusts, and what it offers: the TLS context of its dials.

A context that the caller lent is used as it is, and never modified. Without one we make our own,
which verifies against the operating system's trust store. Which protocols a handshake offers (ALPN)
is decided here too, on our own context only.
"""

from __future__ import annotations

import os
import ssl
import sys

import trio
import truststore

from .._threads import run_in_thread

OFFERED_PROTOCOLS = ["http/1.1"]
"""What our own context offers by ALPN (RFC 7301), best first."""


class Trust:
    """The TLS context of one pool, made by the first dial that needs one.

    Args:
      lent: the caller's context; None for :func:`default_context`.
    """

    def __init__(self, lent: ssl.SSLContext | None) -> None:
        self._context = lent
        self._reading = trio.Lock()

    async def context(self) -> ssl.SSLContext:
        """The context for a handshake.

        To read the trust store takes some 20 ms, so it is done in a thread, and once for all dials
        that begin together. The thread can't be cancelled: we wait for it, and keep what it has
        read for the next dial.
        """
        async with self._reading:
            if self._context is None:
                self._context = await run_in_thread(
                    default_context, limiter=trio.CapacityLimiter(1)
                )
            return self._context


def default_context() -> ssl.SSLContext:
    """Verify against the operating system's trust store. Reads it: call it in a thread."""
    context = _store_in_a_file() or truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(OFFERED_PROTOCOLS)
    # A name is in subjectAltName or nowhere (RFC 9110 section 4.3.4).
    context.hostname_checks_common_name = False
    # As ssl.create_default_context() has it from Python 3.13 on. (Where truststore lets the system
    # itself verify, these have no effect: the system has its own rules.)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    _log_keys(context)
    return context


def _log_keys(context: ssl.SSLContext) -> None:
    """Write the keys of each connection to the file that SSLKEYLOGFILE names, if it names one.

    As ssl.create_default_context() does, so that Wireshark can read what a program sends.

    Raises:
      OSError: the file can't be written.
    """
    path = os.environ.get("SSLKEYLOGFILE")
    if path and not sys.flags.ignore_environment:
        context.keylog_filename = path


def _store_in_a_file() -> ssl.SSLContext | None:
    """A context that has read the system's store, where that is a file which OpenSSL finds.

    truststore would have it too, but reads the file anew for each connection: 20 ms in which no
    task runs. So truststore is for the other cases: where the system itself verifies, where the
    store is a directory in which certificates are looked up as needed, and where the OpenSSL of
    this Python looks in the wrong place.
    """
    if sys.platform in ("win32", "darwin"):
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    return context if context.cert_store_stats()["x509_ca"] else None
