"""What to say when TLS fails: OpenSSL's reasons in words, and what to do about them."""

from __future__ import annotations

import re
import ssl

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

_NO_TLS = "does it speak TLS on this port?"
_NOTHING_IN_COMMON = "there is no version of TLS that both sides accept: see ssl_context="
_WANTS_A_CERTIFICATE = "it wants a certificate of ours: load one into ssl_context="
_REFUSES_OURS = "it does not accept our certificate: look at what ssl_context= has loaded"
_HINTS = {
    # OpenSSL's reasons (sslerr.h); those with ALERT in them are what the server says of us.
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "HTTP_REQUEST": _NO_TLS,
    "PACKET_LENGTH_TOO_LONG": _NO_TLS,
    "UNSUPPORTED_PROTOCOL": _NOTHING_IN_COMMON,
    "NO_PROTOCOLS_AVAILABLE": _NOTHING_IN_COMMON,
    "TLSV1_ALERT_PROTOCOL_VERSION": _NOTHING_IN_COMMON,
    "TLSV1_UNRECOGNIZED_NAME": "it has nothing under this name: check the URL, or server_hostname=",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "there is no cipher that both sides accept, or "
    + _WANTS_A_CERTIFICATE,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _WANTS_A_CERTIFICATE,
    "TLSV1_ALERT_UNKNOWN_CA": _REFUSES_OURS,
    "SSLV3_ALERT_BAD_CERTIFICATE": _REFUSES_OURS,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": _REFUSES_OURS,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _REFUSES_OURS,
}


def explain(name: str, cause: BaseException) -> str:
    """Why there was no handshake with *name*; and what to do, where that is known."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        why = f"the certificate of {name} was refused: {cause.verify_message}"
        what = _WHAT_TO_DO.get(cause.verify_code)
        return f"{why} ({what})" if what else why
    if isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return f"{name} closed the connection during the TLS handshake"
    return f"the TLS handshake with {name} failed: {reason(cause)}"


def as_of_a_proxy(message: str) -> str:
    """The same of a proxy: it has options of its own, and mostly speaks no TLS itself."""
    message = message.replace(_NO_TLS, f"{_NO_TLS} most proxies are http://, for https URLs, too")
    return re.sub(r"\b(ssl_context|server_hostname)=", r"Proxy(\1=)", message)


def reason(cause: BaseException) -> str:
    """What broke a TLS connection, in words; and what to do, where that is known."""
    if not (isinstance(cause, ssl.SSLError) and cause.reason):
        return str(cause)
    words = cause.reason.lower().replace("_", " ")
    hint = _HINTS.get(cause.reason)
    return f"{words} ({hint})" if hint else words


def why_broken(exc: BaseException) -> str:
    """What broke a stream, be it TLS, which says it in the cause only, or the wire below it."""
    if isinstance(exc.__cause__, ssl.SSLError):
        return reason(exc.__cause__)
    return str(exc) or str(exc.__cause__ or type(exc).__name__)
