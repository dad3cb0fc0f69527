"""TLS: whom we trust, what we send, and what an error says. On the in-memory network."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trustme
from servers import server_certificate
from trio.testing import MockClock

from triopool import ConnectError, ConnectionPool, ConnectTimeout, ReadError, Timeouts, TLSError
from triopool._deadlines import Deadlines
from triopool._dial import trust
from triopool._dial.dialler import Dialler
from triopool._dial.names import Names
from triopool._origin import Origin
from triopool._pool_key import PoolKey
from triopool._transport import tls as _tls
from triopool._transport import tls_errors
from triopool.testing import Close, KeepOpen, Network, Receive, Reset, Script, Send, script

from .helpers import bad_certificate, hello_server, pool_on, server_context, told

ADDRESS = "192.0.2.1"


def serve(
    network: Network, certificate: trustme.LeafCert, name: str = "one.test", last: int = 1
) -> ssl.SSLContext:
    """Serve https://*name*/ with *certificate*."""
    context = server_context(certificate)
    network.host(name, f"192.0.2.{last}")
    network.listen(f"192.0.2.{last}", 443, hello_server(), ssl_context=context)
    return context


async def fails(network: Network, context: ssl.SSLContext, url: str, **options: Any) -> TLSError:
    """Fail as TLS does; nothing of the request goes out, nothing stays open."""
    async with pool_on(network, ssl_context=context) as pool:
        with pytest.raises(TLSError) as caught:
            await pool.get(url, **options)
        statistics = pool.statistics()
        assert (statistics.open, statistics.dial_failures) == (0, 1)
        assert not network.open_sockets
    assert caught.value.phase == "connect"
    assert caught.value.__cause__ is not None
    return caught.value


# ── Certificates that are refused ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("self-signed", "self-signed certificate (it is self-signed: trust it with ssl_context="),
        (
            "wrong host",
            "Hostname mismatch, certificate is not valid for 'one.test'. (it is for anot",
        ),
        ("expired", "certificate has expired (it has expired: the server's administrator has to"),
        ("not yet valid", "certificate is not yet valid (it is not valid yet: check the clocks"),
        ("unknown CA", "unable to get local issuer certificate (its issuer is not trusted here"),
    ],
)
async def test_a_refused_certificate_is_a_tlserror_that_says_which_and_why(
    autojump_clock: MockClock,
    ca: trustme.CA,
    client_ssl_context: ssl.SSLContext,
    kind: str,
    says: str,
) -> None:
    certificate = bad_certificate(kind, ca)
    async with Network() as network:
        serve(network, certificate)
        error = await fails(network, client_ssl_context, "https://one.test/")
        message = str(error)
        assert message.startswith(
            "could not connect to https://one.test:443: 192.0.2.1:443: "
            "the certificate of one.test was refused: "
        )
        # OpenSSL 1.1 writes "self signed".
        assert says in message.replace("self signed", "self-signed")
        assert isinstance(error.__cause__, ssl.SSLCertVerificationError)


async def test_a_chain_that_ends_in_an_unknown_root_is_told_as_that(
    autojump_clock: MockClock, client_ssl_context: ssl.SSLContext
) -> None:
    stranger = trustme.CA()
    async with Network() as network:
        context = serve(network, stranger.issue_cert("one.test"))
        stranger.configure_trust(context)  # OpenSSL then sends the root, too
        message = str(await fails(network, client_ssl_context, "https://one.test/"))
        assert "its chain ends in a self-signed certificate that is not trusted here" in message


async def test_a_certificate_for_another_address_is_told_as_that(
    autojump_clock: MockClock, ca: trustme.CA, client_ssl_context: ssl.SSLContext
) -> None:
    async with Network() as network:
        serve(network, ca.issue_cert("one.test", "192.0.2.99"))
        message = str(await fails(network, client_ssl_context, "https://192.0.2.1/"))
        assert "the certificate of 192.0.2.1 was refused" in message
        assert "it is for another address: use the name in the URL" in message


async def test_another_reason_stands_for_itself(autojump_clock: MockClock) -> None:
    error = ssl.SSLCertVerificationError("x")
    error.verify_code, error.verify_message = 23, "certificate revoked"
    assert tls_errors.explain("one.test", error) == (
        "the certificate of one.test was refused: certificate revoked"
    )


# ── Handshakes that fail otherwise ─────────────────────────────────────────────────────────────


async def test_a_server_that_does_not_speak_tls_is_told_as_that(
    autojump_clock: MockClock, client_ssl_context: ssl.SSLContext
) -> None:
    async with Network() as network:
        network.listen(ADDRESS, 443, script(Send(b"HTTP/1.1 400 Bad Request\r\n\r\n"), KeepOpen()))
        message = str(await fails(network, client_ssl_context, f"https://{ADDRESS}/"))
        assert f"the TLS handshake with {ADDRESS} failed: wrong version number" in message
        assert message.endswith("(does it speak TLS on this port?)")


def only(version: ssl.TLSVersion) -> Callable[[ssl.SSLContext], None]:
    def limit(context: ssl.SSLContext) -> None:
        context.minimum_version = context.maximum_version = version

    return limit


def with_other_ciphers(context: ssl.SSLContext) -> None:
    only(ssl.TLSVersion.TLSv1_2)(context)
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")


def that_knows_no_name(context: ssl.SSLContext) -> None:
    unknown = ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
    context.sni_callback = lambda socket, name, context: unknown


@contextmanager
def refusing(context: ssl.SSLContext) -> Iterator[str]:
    """The URL of a server whose handshake with us fails. Trio's own servers send no alert then."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            plain, _ = listener.accept()
            plain.settimeout(20)
            with context.wrap_socket(
                plain, server_side=True, do_handshake_on_connect=False
            ) as connection:
                with pytest.raises(ssl.SSLError):
                    connection.do_handshake()
                # To close with something unread would reset the connection, alert and all.
                while socket.socket.recv(connection, 65536):
                    pass

        thread = threading.Thread(target=refuse)
        thread.start()
        try:
            yield f"https://localhost:{listener.getsockname()[1]}/"
        finally:
            thread.join()


@pytest.mark.parametrize(
    ("a_server", "says"),
    [
        (only(ssl.TLSVersion.TLSv1_2), "there is no version of TLS that both sides accept"),
        (with_other_ciphers, "there is no cipher that both sides accept"),
        (that_knows_no_name, "it has nothing under this name: check the URL"),
    ],
)
async def test_what_the_server_has_against_us_is_told_with_what_to_do(
    ca: trustme.CA,
    client_ssl_context: ssl.SSLContext,
    a_server: Callable[[ssl.SSLContext], None],
    says: str,
) -> None:
    if a_server is not with_other_ciphers:
        client_ssl_context.minimum_version = ssl.TLSVersion.TLSv1_3
    context = server_context(ca.issue_cert("localhost", key_type=trustme.KeyType.RSA))
    a_server(context)
    with refusing(context) as url:
        async with ConnectionPool(ssl_context=client_ssl_context) as pool:
            with pytest.raises(TLSError) as caught:
                await pool.get(url)
            assert f"({says}" in str(caught.value)
            assert pool.statistics().open == 0


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_server_that_wants_a_certificate_of_ours_is_told_as_that(
    ca: trustme.CA, client_ssl_context: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    context = server_context(server_certificate(ca))
    context.verify_mode = ssl.CERT_REQUIRED
    only(version)(context)
    with refusing(context) as url:
        async with ConnectionPool(ssl_context=client_ssl_context) as pool:
            # With TLS 1.3 our side of the handshake is over by then.
            with pytest.raises((TLSError, ReadError)) as caught:
                await pool.get(url)
            assert "it wants a certificate of ours: load one" in str(caught.value)


@pytest.mark.parametrize(
    ("ending", "says"),
    [
        (Close(), "closed the connection during the TLS handshake"),
        (Reset(), "Connection reset by peer"),
    ],
)
async def test_a_server_that_goes_away_in_the_handshake_is_told_as_that(
    autojump_clock: MockClock, client_ssl_context: ssl.SSLContext, ending: Any, says: str
) -> None:
    async with Network() as network:
        server = script(Receive(until=b"\x16\x03"), ending)
        network.listen(ADDRESS, 443, server)
        assert says in str(await fails(network, client_ssl_context, f"https://{ADDRESS}/"))
        assert len(server.conversations) == 1
        assert b"GET" not in server.conversations[0].received


async def test_a_context_for_servers_is_told_as_that(
    autojump_clock: MockClock, ca: trustme.CA
) -> None:
    async with Network() as network:
        context = serve(network, server_certificate(ca))
        message = str(await fails(network, context, "https://one.test/"))
        assert "the TLS handshake with one.test failed: " in message
        assert "PROTOCOL_TLS_SERVER" in message


async def test_a_name_that_cannot_be_an_sni_is_a_tlserror(
    autojump_clock: MockClock, ca: trustme.CA, client_ssl_context: ssl.SSLContext
) -> None:
    async with Network() as network:
        serve(network, server_certificate(ca))
        key = PoolKey(Origin("https", "one.test", 443), ".dot.test")
        async with trio.open_nursery() as nursery:
            names = Names(network.resolve, 0.0)
            names.start(nursery)
            dialler = Dialler(
                names, Deadlines(), ssl_context=client_ssl_context, socket_factory=network.socket
            )
            with pytest.raises(TLSError, match=r"leading dot|label empty"):
                await dialler.dial(key, [])
        assert not network.open_sockets


async def test_a_handshake_without_end_is_a_connecttimeout_that_says_so(
    autojump_clock: MockClock, client_ssl_context: ssl.SSLContext
) -> None:
    async with Network() as network:
        network.listen(ADDRESS, 443, script(KeepOpen()))
        timeouts = Timeouts(connect=3.0)
        async with pool_on(network, ssl_context=client_ssl_context, timeouts=timeouts) as pool:
            with pytest.raises(ConnectTimeout) as caught:
                await pool.get(f"https://{ADDRESS}/")
            assert not network.open_sockets
        message = str(caught.value)
        assert message.startswith("no connection to https://192.0.2.1:443 within 3")
        assert message.endswith(" s: TLS handshake with 192.0.2.1:443")
        assert (trio.current_time(), caught.value.seconds) == (3.0, 3.0)


async def test_nothing_of_the_request_was_sent(
    autojump_clock: MockClock, ca: trustme.CA, client_ssl_context: ssl.SSLContext
) -> None:
    async with Network() as network:
        server = hello_server()
        network.host("two.test", ADDRESS)
        context = server_context(ca.issue_cert("other.test"))
        network.listen(ADDRESS, 443, server, ssl_context=context)
        await fails(network, client_ssl_context, "https://two.test/secret")
        assert server.connections == 0
        assert server.requests == []


# ── The next address ───────────────────────────────────────────────────────────────────────────


async def test_where_tls_fails_on_one_address_the_others_are_tried(
    autojump_clock: MockClock, ca: trustme.CA, client_ssl_context: ssl.SSLContext
) -> None:
    async with Network() as network:
        serve(network, ca.issue_cert("other.test"), last=1)
        serve(network, ca.issue_cert("one.test"), last=2)
        network.host("one.test", "192.0.2.1", "192.0.2.2", "192.0.2.3")
        async with pool_on(network, ssl_context=client_ssl_context) as pool:
            response = await pool.get("https://one.test/")
            assert response.connection.remote_address == ("192.0.2.2", 443)
            assert len(network.open_sockets) == 1


async def test_failures_of_tls_and_of_connecting_are_told_together(
    autojump_clock: MockClock, ca: trustme.CA, client_ssl_context: ssl.SSLContext
) -> None:
    async with Network() as network:
        serve(network, ca.issue_cert("other.test"))
        network.host("one.test", "192.0.2.1", "192.0.2.2")
        async with pool_on(network, ssl_context=client_ssl_context) as pool:
            with pytest.raises(ConnectError) as caught:
                await pool.get("https://one.test/")
        assert type(caught.value) is ConnectError
        assert "192.0.2.1:443: the certificate of one.test was refused" in str(caught.value)
        assert "192.0.2.2:443: Connection refused" in str(caught.value)
        assert isinstance(caught.value.__cause__, ExceptionGroup)
        assert [type(exc) for exc in caught.value.__cause__.exceptions] == [
            TLSError,
            ConnectionRefusedError,
        ]


async def test_a_dial_that_takes_too_long_tells_of_the_certificate_that_failed_before(
    autojump_clock: MockClock, ca: trustme.CA, client_ssl_context: ssl.SSLContext
) -> None:
    async with Network() as network:
        serve(network, ca.issue_cert("other.test"))
        network.host("one.test", "192.0.2.1", "192.0.2.2")
        network.listen("192.0.2.2", 443, script(KeepOpen()))
        async with pool_on(network, ssl_context=client_ssl_context) as pool:
            with pytest.raises(ConnectTimeout) as caught:
                await pool.get("https://one.test/", timeouts=Timeouts(connect=1.0))
        assert "192.0.2.1:443: the certificate of one.test was refused" in str(caught.value)
        assert str(caught.value).endswith("; TLS handshake with 192.0.2.2:443")


# ── What is sent ───────────────────────────────────────────────────────────────────────────────


def watch_names(context: ssl.SSLContext) -> list[str | None]:
    names: list[str | None] = []
    context.sni_callback = lambda sslobj, name, ctx: names.append(name)
    return names


@pytest.mark.parametrize(
    ("url", "options", "sni"),
    [
        ("https://one.test/", {}, "one.test"),
        ("https://ONE.test./", {}, "one.test"),
        ("https://one.test/", {"server_hostname": "two.test"}, "two.test"),
        ("https://one.test/", {"server_hostname": "two.test."}, "two.test"),
        ("https://192.0.2.1/", {"server_hostname": "two.test"}, "two.test"),
        ("https://192.0.2.1/", {}, None),
        ("https://[2001:db8::1]/", {}, None),
        ("https://one.test/", {"server_hostname": "192.0.2.1"}, None),
    ],
)
async def test_the_name_sent_as_sni_and_verified_is_the_hosts_or_the_callers(
    autojump_clock: MockClock,
    ca: trustme.CA,
    client_ssl_context: ssl.SSLContext,
    url: str,
    options: Any,
    sni: str | None,
) -> None:
    verified = (
        options.get("server_hostname", "").rstrip(".") or sni or url.split("/")[2].strip("[]")
    )
    async with Network() as network:
        context = serve(network, ca.issue_cert(verified))  # valid for this name only
        network.listen("2001:db8::1", 443, hello_server(), ssl_context=context)
        names = watch_names(context)
        async with pool_on(network, ssl_context=client_ssl_context) as pool:
            response = await pool.get(url, **options)
            assert response.content == b"hello"
        assert names == [sni]


async def test_the_zone_of_an_address_is_not_sent_and_not_verified(
    autojump_clock: MockClock, ca: trustme.CA, client_ssl_context: ssl.SSLContext
) -> None:
    _, zone = socket.if_nameindex()[0]
    async with Network() as network:
        context = server_context(ca.issue_cert("fe80::1"))
        names = watch_names(context)
        network.listen("fe80::1", 443, hello_server(), ssl_context=context)
        async with pool_on(network, ssl_context=client_ssl_context) as pool:
            assert (await pool.get(f"https://[fe80::1%25{zone}]/")).content == b"hello"
        assert names == [None]


async def test_a_connection_for_one_sni_name_is_not_used_for_another(
    autojump_clock: MockClock, ca: trustme.CA, client_ssl_context: ssl.SSLContext
) -> None:
    async with Network() as network:
        names = watch_names(serve(network, server_certificate(ca)))
        async with pool_on(network, ssl_context=client_ssl_context) as pool:
            for name in (None, "two.test", "one.test", None, "two.test"):
                await pool.get("https://one.test/", server_hostname=name)
        # A name that is asked for has a connection of its own, even if it is the host's.
        assert names == ["one.test", "two.test", "one.test"]


HOST_NAMES = [
    "one.test\x00.evil.test",
    "one.test\r\nX: 1",
    " one.test",
    "one\ud800.test",
    "one..test",
    ".one.test",
    "-one.test",
    "one.test:443",
    "user@one.test",
    "one.test/",
    "[::1]",
    "fe80::1%\x00",
    "*.one.test",
    "127.1",
    "2130706433",
    "a" * 64,
    "\u2024.test",
]


@pytest.mark.parametrize("name", HOST_NAMES, ids=ascii)
async def test_a_server_hostname_is_checked_like_a_host_before_anything_is_taken(
    autojump_clock: MockClock, name: str
) -> None:
    async with Network() as network, pool_on(network) as pool:
        with pytest.raises(ValueError, match=r"^server_hostname (is not a legal|looks like a)"):
            await pool.get("https://one.test/", server_hostname=name)
        with pytest.raises(ValueError, match="server_hostname"):
            pool.stream("GET", "https://one.test/", server_hostname=name)
        with pytest.raises(ValueError, match="server_hostname"):
            pool.lease("https://one.test/", server_hostname=name)
        with pytest.raises(ValueError, match="server_hostname"):
            await pool.warm_up("https://one.test/", server_hostname=name)
        assert pool.statistics().dial_failures == 0
        assert not network.log


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("Two.Test", "two.test"),
        ("two.test.", "two.test"),
        ("bücher.test", "xn--bcher-kva.test"),
        ("2001:DB8::1", None),
    ],
)
async def test_a_server_hostname_is_asked_for_as_a_host_is(
    autojump_clock: MockClock,
    ca: trustme.CA,
    client_ssl_context: ssl.SSLContext,
    given: str,
    asked: str | None,
) -> None:
    names: list[str | None] = []
    async with Network() as network:
        certificate = ca.issue_cert("two.test", "xn--bcher-kva.test", "2001:db8::1")
        context = serve(network, certificate)
        context.sni_callback = lambda ssl_object, name, context: names.append(name)
        async with pool_on(network, ssl_context=client_ssl_context) as pool:
            await pool.get("https://one.test/", server_hostname=given)
    assert names == [asked]


# ── Contexts ───────────────────────────────────────────────────────────────────────────────────


async def test_the_callers_context_is_not_changed(
    autojump_clock: MockClock, ca: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    touched: list[str] = []

    class Lent(ssl.SSLContext):
        def set_alpn_protocols(self, alpn_protocols: Any) -> None:
            touched.append("alpn")

        def __setattr__(self, name: str, value: Any) -> None:
            touched.append(name)
            super().__setattr__(name, value)

    context = Lent(ssl.PROTOCOL_TLS_CLIENT)
    ca.configure_trust(context)
    facts = ("options", "verify_mode", "check_hostname", "minimum_version", "verify_flags")
    touched.clear()
    before = [getattr(context, name) for name in facts]
    async with Network() as network:
        served = serve(network, server_certificate(ca))
        served.set_alpn_protocols(["http/1.1"])
        async with pool_on(network, ssl_context=context) as pool:
            response = await pool.get("https://one.test/")
            assert response.connection.tls is not None
            assert response.connection.tls.alpn_protocol is None
    assert [getattr(context, name) for name in facts] == before
    assert touched == []


async def test_facts_of_the_handshake_are_told(
    autojump_clock: MockClock, ca: trustme.CA, client_ssl_context: ssl.SSLContext
) -> None:
    certificate = server_certificate(ca)
    async with Network() as network:
        serve(network, certificate)
        async with pool_on(network, ssl_context=client_ssl_context) as pool:
            tls = (await pool.get("https://one.test/")).connection.tls
    assert tls is not None
    assert tls.version == "TLSv1.3"
    assert tls.cipher is not None
    assert tls.cipher.startswith("TLS_")
    pem = certificate.cert_chain_pems[0].bytes().decode()
    assert tls.peer_certificate == ssl.PEM_cert_to_DER_cert(pem)


def test_facts_of_a_connection_without_a_cipher_are_told() -> None:
    class Stream:
        def __getattr__(self, name: str) -> Any:
            return lambda **options: None

    stream: Any = SimpleNamespace(ssl=Stream())
    assert _tls.facts(stream).cipher is None


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_where_the_system_itself_verifies_truststores_own_context_is_used(
    monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    import truststore

    monkeypatch.setattr(sys, "platform", platform)
    assert type(trust.default_context()) is truststore.SSLContext


def test_where_openssl_finds_no_store_truststore_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import truststore

    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert type(trust.default_context()) is truststore.SSLContext


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="there the store is no file")
def test_the_trust_store_is_read_once_and_not_for_each_connection(
    monkeypatch: pytest.MonkeyPatch, ca: trustme.CA, tmp_path: Path
) -> None:
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = trust.default_context()
    assert context.cert_store_stats()["x509_ca"] == 1
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="one.test")
    assert context.cert_store_stats()["x509_ca"] == 1


async def test_a_common_name_is_no_name_of_a_host(
    autojump_clock: MockClock, ca: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    ours = trust.default_context()
    async with Network() as network:
        serve(network, ca.issue_cert("someone@example.org", common_name="one.test"))
        error = await fails(network, ours, "https://one.test/")
        assert "Hostname mismatch" in str(error)
        # So it is, unless somebody asks for it: a context of the caller's is left as it is.
        lent = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ca.configure_trust(lent)
        async with pool_on(network, ssl_context=lent) as pool:
            await pool.get("https://one.test/")


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_the_default_context_is_as_strict_as_that_of_python_3_13(
    monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    context = trust.default_context()
    strict = ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    assert context.verify_flags & strict == strict
    assert not context.hostname_checks_common_name
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    if sys.version_info >= (3, 13):
        assert context.verify_flags == ssl.create_default_context().verify_flags


async def test_the_store_is_read_by_the_first_dial_for_all_and_in_a_thread(
    monkeypatch: pytest.MonkeyPatch, ca: trustme.CA, client_ssl_context: ssl.SSLContext
) -> None:
    read_in: list[bool] = []

    def default_context() -> ssl.SSLContext:
        try:
            trio.lowlevel.current_task()
        except RuntimeError:
            read_in.append(True)
        return client_ssl_context

    monkeypatch.setattr(trust, "default_context", default_context)
    async with Network() as network:
        serve(network, server_certificate(ca))
        async with pool_on(network) as pool:
            await pool.warm_up("https://one.test/", 5)
            assert pool.statistics().idle == 5
        async with pool_on(network) as pool:
            network.listen(ADDRESS, 80, hello_server())
            await pool.get("http://one.test/")
    assert read_in == [True]


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="there the store is no file")
@pytest.mark.parametrize("trusted", [True, False])
def test_the_default_context_verifies_against_the_systems_store_and_offers_http_1_1(
    ca: trustme.CA, tmp_path: Path, trusted: bool
) -> None:
    (ca if trusted else trustme.CA()).cert_pem.write_to_path(tmp_path / "store.pem")
    server_certificate(ca).private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    script = f"""
import ssl, trio, triopool
from triopool.testing import *

async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain({str(tmp_path / "server.pem")!r})
    context.set_alpn_protocols(["h2", "http/1.1"])

    async def reply(request):
        return Reply(body=b"hello")

    async with Network() as network:
        network.host("one.test", "192.0.2.1")
        network.listen("192.0.2.1", 443, http_server(reply), ssl_context=context)
        async with triopool.ConnectionPool(
            resolver=network.resolve, socket_factory=network.socket
        ) as pool:
            try:
                response = await pool.get("https://one.test/")
            except triopool.TLSError as exc:
                print(exc)
            else:
                print(response.content, response.connection.tls.alpn_protocol)

trio.run(main)
"""
    environ = {**os.environ, "SSL_CERT_FILE": str(tmp_path / "store.pem")}
    environ.pop("SSL_CERT_DIR", None)
    said = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    if trusted:
        assert said == "b'hello' http/1.1\n"
    else:
        assert "unable to get local issuer certificate" in said


async def test_closing_never_waits_for_the_peer(
    autojump_clock: MockClock, ca: trustme.CA, client_ssl_context: ssl.SSLContext
) -> None:
    async with Network() as network:
        context = server_context(server_certificate(ca))
        server: Script = script(KeepOpen())
        network.host("one.test", ADDRESS)
        network.listen(ADDRESS, 443, server, ssl_context=context)
        async with pool_on(network, ssl_context=client_ssl_context) as pool:
            await pool.warm_up("https://one.test/")
            pool.close_idle()
            assert not network.open_sockets
    assert trio.current_time() == 0.0
    assert told(network, "close") == [(0.0, "close", ADDRESS)]


async def test_a_pool_needs_no_trust_store_for_http(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(trust, "default_context")
    async with Network() as network:
        network.listen(ADDRESS, 80, hello_server())
        async with ConnectionPool(socket_factory=network.socket) as pool:
            await pool.get(f"http://{ADDRESS}/")
