"""TLS sessions: what the next handshake with a server may go on from, to save a round trip.

With TLS 1.2 a full handshake takes two round trips, and one that resumes a session takes one. With
TLS 1.3 both take one. What resuming saves there is work with certificates (0.35 ms of CPU in place
of 1.2, per connection and not per request), for tickets that come some time after the handshake and
serve once. So sessions of TLS 1.2 are kept, and no others.

In a resumed handshake no certificate is shown and no name is checked: it rests on what was verified
before. So a session is kept under all that shapes a connection, its key, and only if its server's
certificate and name were verified. A pool has one context, and a session belongs to that.

Where another library verifies (truststore, where the system does it) or a class of the caller's own
stands in for the context, each handshake is a full one: they may want to see a certificate.
"""

from __future__ import annotations

import ssl
from collections import OrderedDict

from .._pool_key import PoolKey

MOST_SESSIONS = 1024
"""Of so many keys sessions are kept; the one that was used least recently goes first."""


class Sessions:
    """The sessions of one pool, with origins that are reached directly.

    A key with a proxy has credentials in it, and one with a TLS context may have a private key: it
    would stay here when its connections have gone.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[PoolKey, ssl.SSLSession] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: PoolKey) -> ssl.SSLSession | None:
        """The session to go on from. With TLS 1.2 it may serve several handshakes at one time."""
        session = self._kept.get(key)
        if session is not None:
            self._kept.move_to_end(key)
        return session

    def forget(self, key: PoolKey) -> None:
        """A handshake has failed: the next one is a full one."""
        self._kept.pop(key, None)

    def keep(self, key: PoolKey, context: ssl.SSLContext, tls: ssl.SSLObject) -> None:
        """Keep the session of a handshake that has succeeded, if it is of use.

        *context* is the one that was asked to speak TLS: truststore's has another one inside, which
        ``tls.context`` would be.
        """
        was_verified = context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname
        may_stay = key.proxy is None and key.ssl_context is None
        is_of_use = was_verified and type(context) is ssl.SSLContext and may_stay
        if not is_of_use or tls.version() != "TLSv1.2":
            return
        assert tls.session is not None
        self._kept[key] = tls.session
        self._kept.move_to_end(key)
        if len(self._kept) > MOST_SESSIONS:
            self._kept.popitem(last=False)
