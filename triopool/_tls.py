"""TLS over the wire: whom we trust, and what to say when we don't.

``https_compatible`` is on: HTTP servers commonly close without a ``close_notify``, and HTTP has its
own framing that tells a whole response from a truncated one (RFC 9112 section 9.8).
"""

from __future__ import annotations

import ssl
import sys
from typing import TypeAlias

import trio
import truststore

from ._connection_info import TLSInfo
from ._errors import TLSError
from ._origin import PoolKey
from ._wire import Wire

TLSStream: TypeAlias = "trio.SSLStream[Wire]"

_WHAT_TO_DO = {
    # OpenSSL's verify codes (x509_vfy.h).
    9: "it is not valid yet: check the clocks of both machines",
    10: "it has expired: the server's administrator has to renew it",
    18: "it is self-signed: trust it with ssl_context= if you mean to",
    19: "its chain ends in a self-signed certificate that is not trusted here",
    20: "its issuer is not trusted here: trust it with ssl_context= if you mean to",
    62: "it is for another name: check the URL, or set server_hostname=",
    64: "it is for another address: use the name in the URL, or set server_hostname=",
}


def default_context() -> ssl.SSLContext:
    """Verify against the operating system's trust store. Reads it: call it in a thread."""
    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Ours, so ours to set. A context that the caller lent is never modified.
    context.set_alpn_protocols(["http/1.1"])
    if sys.platform in ("win32", "darwin"):
        return context
    # Elsewhere the store is a file, and truststore reads it anew for each connection: 20 ms in
    # which no task runs. So let it do so once, and use the plain context that it has filled.
    context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost")
    return context._ctx


async def handshake(wire: Wire, context: ssl.SSLContext, key: PoolKey) -> TLSStream:
    """Speak TLS on *wire*. The caller owns the wire and closes it if this raises.

    Raises:
      TLSError: the certificate was refused, or the handshake failed. Nothing of a request was sent.
    """
    name = _name_to_verify(key)
    try:
        stream = trio.SSLStream(wire, context, server_hostname=name, https_compatible=True)
        await stream.do_handshake()
    except trio.BrokenResourceError as exc:
        cause = exc.__cause__ or exc
        raise TLSError(_explain(name, cause), origin=key.origin, phase="connect") from cause
    except (ssl.SSLError, ValueError) as exc:
        # Setting up can fail too: a name that can't be an SNI, a context without a trust store.
        raise TLSError(_explain(name, exc), origin=key.origin, phase="connect") from exc
    return stream


def _name_to_verify(key: PoolKey) -> str:
    """SNI has no trailing dot (RFC 6066 section 3), and an address's zone is only ours to know."""
    name = key.server_hostname or key.origin.host
    return name.partition("%")[0].removesuffix(".")


def _explain(name: str, cause: BaseException) -> str:
    if isinstance(cause, ssl.SSLCertVerificationError):
        what = _WHAT_TO_DO.get(cause.verify_code, "")
        return f"the certificate of {name} was refused: {cause.verify_message}" + (
            f" ({what})" if what else ""
        )
    if isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return f"{name} closed the connection during the TLS handshake"
    if isinstance(cause, ssl.SSLError) and cause.reason:
        reason = cause.reason.lower().replace("_", " ")
        hint = ": does it speak TLS on this port?" if "wrong version" in reason else ""
        return f"the TLS handshake with {name} failed: {reason}{hint}"
    return f"the TLS handshake with {name} failed: {cause}"


def facts(stream: TLSStream) -> TLSInfo:
    cipher = stream.cipher()
    return TLSInfo(
        version=stream.version(),
        cipher=cipher[0] if cipher else None,
        alpn_protocol=stream.selected_alpn_protocol(),
        peer_certificate=stream.getpeercert(binary_form=True),
    )
