"""``pins=``: only the certificates that the caller has named."""

from __future__ import annotations

import base64
import hashlib
import ssl
from typing import Any

import pytest
import trio
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st
from servers import server_certificate
from trio.testing import MockClock

from triopool import ConnectionPool, ConnectTimeout, Timeouts, TLSError
from triopool._dial.pins import Pins, public_key_of
from triopool._origin import Origin
from triopool._pool_key import PoolKey
from triopool.testing import KeepOpen, Network, ReceiveBytes, http_proxy, script, socks_proxy

from .helpers import hello_server, pool_on, server_context, told

ADDRESS = "192.0.2.1"


def der_of(certificate: trustme.LeafCert) -> bytes:
    pem = certificate.cert_chain_pems[0].bytes()
    return x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)


def key_of(der: bytes) -> bytes:
    """What another program takes for the public key."""
    key = x509.load_der_x509_certificate(der).public_key()
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def pin(data: bytes) -> str:
    return f"sha256/{base64.b64encode(hashlib.sha256(data).digest()).decode()}"


def fingerprint(data: bytes) -> str:
    """As browsers and ``openssl x509 -fingerprint`` show it."""
    return hashlib.sha256(data).digest().hex(":").upper()


STRANGER = pin(b"somebody else")


@pytest.fixture
def certificate(ca: trustme.CA) -> trustme.LeafCert:
    return server_certificate(ca)


def serve(network: Network, certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = server_context(certificate)
    network.host("one.test", ADDRESS)
    network.listen(ADDRESS, 443, hello_server(), ssl_context=context)
    return context


@pytest.mark.parametrize("kind", ["key", "curl", "certificate", "hex", "one of two"])
async def test_a_server_with_a_pinned_certificate_is_asked(
    autojump_clock: MockClock,
    certificate: trustme.LeafCert,
    client_ssl_context: ssl.SSLContext,
    kind: str,
) -> None:
    der = der_of(certificate)
    pins: Any = {
        "key": pin(key_of(der)),
        "curl": pin(key_of(der)).replace("/", "//", 1),
        "certificate": fingerprint(der),
        "hex": hashlib.sha256(key_of(der)).hexdigest(),
        "one of two": iter([STRANGER, pin(der)]),
    }[kind]
    async with Network() as network:
        serve(network, certificate)
        options: dict[str, Any] = {"ssl_context": client_ssl_context, "pins": {"one.test": pins}}
        async with pool_on(network, **options) as pool:
            for _ in range(2):
                assert (await pool.get("https://one.test/")).content == b"hello"
                pool.close_idle()


@pytest.mark.parametrize("verify", [True, False])
async def test_another_certificate_is_a_tlserror_that_names_it_and_nothing_is_sent(
    autojump_clock: MockClock,
    certificate: trustme.LeafCert,
    client_ssl_context: ssl.SSLContext,
    verify: bool,
) -> None:
    received: list[bytes] = []

    async def eavesdrop(stream: trio.abc.Stream) -> None:
        received.extend([data async for data in stream])

    if not verify:
        client_ssl_context.check_hostname = False
        client_ssl_context.verify_mode = ssl.CERT_NONE
    der = der_of(certificate)
    async with Network() as network:
        network.host("one.test", ADDRESS, "192.0.2.2")
        for address in (ADDRESS, "192.0.2.2"):
            network.listen(address, 443, eavesdrop, ssl_context=server_context(certificate))
        pins = {"one.test": [STRANGER]}
        async with pool_on(network, ssl_context=client_ssl_context, pins=pins) as pool:
            with pytest.raises(TLSError) as caught:
                await pool.get("https://one.test/")
            message = str(caught.value)
            assert "the certificate of one.test is not one that pins= allows: " in message
            # What to write into pins=, if it is right, can be copied from the message.
            assert pin(key_of(der)) in message
            assert hashlib.sha256(der).hexdigest() in message
            assert STRANGER not in message
            assert caught.value.phase == "connect"
            assert caught.value.origin == Origin("https", "one.test", 443)
            statistics = pool.statistics()
            assert (statistics.open, statistics.dial_failures) == (0, 1)
        # Each address was tried, for only one machine behind a name may be wrong.
        assert len(told(network, "connected")) == 2
    assert received == []


@pytest.mark.parametrize(
    ("pinned", "url", "options"),
    [
        ("one.test", "https://one.test./", {}),
        ("ONE.test.", "https://one.test/", {}),
        ("one.test", "https://ONE.TEST:443/", {}),
        ("one.test", "https://one.test/", {"server_hostname": "two.test"}),
        ("two.test", "https://one.test/", {"server_hostname": "two.test"}),
        ("two.test", "https://192.0.2.1/", {"server_hostname": "two.test."}),
        ("192.0.2.1", "https://192.0.2.1/", {"server_hostname": "one.test"}),
        ("::1", "https://[0:0::0:1]/", {"server_hostname": "one.test"}),
        ("2001:DB8::0:1", "https://[2001:db8:0::1]/", {"server_hostname": "one.test"}),
        ("fe80::1", "https://[fe80::1%25eth0]/", {"server_hostname": "one.test"}),
        ("xn--bcher-kva.test", "https://bücher.test/", {"server_hostname": "one.test"}),
        ("bücher.test", "https://xn--bcher-kva.test/", {"server_hostname": "one.test"}),
    ],
)
async def test_no_spelling_of_a_host_leads_past_its_pins(
    autojump_clock: MockClock,
    certificate: trustme.LeafCert,
    client_ssl_context: ssl.SSLContext,
    pinned: str,
    url: str,
    options: dict[str, Any],
) -> None:
    def anything(address: Any) -> Any:
        return network.socket(address._replace(sockaddr=(ADDRESS, 443)))

    async with Network() as network:
        serve(network, certificate)
        for name in ("one.test.", "xn--bcher-kva.test"):
            network.host(name, ADDRESS)
        for address in ("::1", "2001:db8::1", "fe80::1"):
            network.listen(address, 443, hello_server(), ssl_context=server_context(certificate))
        for fits in (True, False):
            allowed = pin(der_of(certificate)) if fits else STRANGER
            pins = {pinned: allowed, "other.test": STRANGER}
            async with pool_on(network, ssl_context=client_ssl_context, pins=pins) as pool:
                if fits:
                    assert (await pool.get(url, **options)).content == b"hello"
                else:
                    with pytest.raises(TLSError, match="pins= allows"):
                        await pool.get(url, **options)


@pytest.mark.parametrize("kind", ["http", "socks5h"])
async def test_pins_are_the_origins_also_through_a_proxy(
    autojump_clock: MockClock,
    certificate: trustme.LeafCert,
    client_ssl_context: ssl.SSLContext,
    kind: str,
) -> None:
    async with Network() as network:
        serve(network, certificate)
        proxy: Any = http_proxy(network) if kind == "http" else socks_proxy(network)
        network.listen("192.0.2.9", 3128, proxy)
        options: dict[str, Any] = {
            "ssl_context": client_ssl_context,
            "proxy": f"{kind}://192.0.2.9:3128",
        }
        pins = {"one.test": pin(key_of(der_of(certificate))), "192.0.2.9": STRANGER}
        async with pool_on(network, pins=pins, **options) as pool:
            await pool.get("https://one.test/")
        async with pool_on(network, pins={"one.test": STRANGER}, **options) as pool:
            with pytest.raises(TLSError, match=r"through .*192\.0\.2\.9.*pins= allows"):
                await pool.get("https://one.test/")


async def test_a_resumed_session_is_looked_at_like_any_other(
    autojump_clock: MockClock, certificate: trustme.LeafCert, client_ssl_context: ssl.SSLContext
) -> None:
    async with Network() as network:
        context = serve(network, certificate)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        pins = {"one.test": fingerprint(der_of(certificate))}
        async with pool_on(network, ssl_context=client_ssl_context, pins=pins) as pool:
            for _ in range(3):
                await pool.get("https://one.test/")
                pool.close_idle()
        assert context.session_stats()["hits"] == 2


async def test_a_handshake_that_does_not_come_has_its_own_error(
    autojump_clock: MockClock, client_ssl_context: ssl.SSLContext
) -> None:
    async with Network() as network:
        network.listen(ADDRESS, 443, script(ReceiveBytes(1), KeepOpen()))
        pins = {ADDRESS: STRANGER}
        async with pool_on(network, ssl_context=client_ssl_context, pins=pins) as pool:
            with pytest.raises(ConnectTimeout):
                await pool.get(f"https://{ADDRESS}/", timeouts=Timeouts(connect=1))


def test_who_shows_no_certificate_is_not_who_is_pinned() -> None:
    class Anonymous:
        def getpeercert(self, binary_form: bool) -> None:
            assert binary_form

    tls: Any = Anonymous()
    pins = Pins({"one.test": frozenset([b"x"])})
    pins.check(PoolKey(Origin("https", "two.test", 443)), tls)
    with pytest.raises(TLSError, match=r"pins= allows: it has shown none$"):
        pins.check(PoolKey(Origin("https", "one.test", 443)), tls)


# ── The key in a certificate ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("key_type", list(trustme.KeyType))
@pytest.mark.parametrize("names", [1, 200])
def test_the_public_key_is_what_other_programs_take_for_it(
    key_type: trustme.KeyType, names: int
) -> None:
    certificate = trustme.CA(key_type=key_type).issue_cert(
        *(f"{number}.example" for number in range(names)), key_type=key_type
    )
    der = der_of(certificate)
    assert public_key_of(der) == key_of(der)


def test_so_it_is_in_the_oldest_version_which_does_not_say_that(ca: trustme.CA) -> None:
    """Version 1 is the default, and not written (RFC 5280 section 4.1)."""
    der = der_of(ca.issue_cert("one.test"))
    key = key_of(der)
    before = b"".join(b"\x30\x00" for _ in range(4))
    inside = b"\x02\x01\x07" + before + key
    length = b"\x82" + len(inside).to_bytes(2, "big")
    inside = b"\x30" + length + inside
    outside = b"\x30\x82" + len(inside).to_bytes(2, "big") + inside
    assert public_key_of(outside) == key


@given(st.data())
def test_what_is_no_certificate_has_no_key_and_never_raises(data: st.DataObject) -> None:
    der = bytearray(data.draw(st.binary(min_size=0, max_size=60)))
    assert len(public_key_of(bytes(der))) <= len(der)


def test_a_certificate_that_is_cut_or_has_a_length_of_another_kind_has_no_key(
    ca: trustme.CA,
) -> None:
    der = der_of(ca.issue_cert("one.test"))
    end = der.index(key_of(der)) + len(key_of(der))
    for cut in range(end):
        assert public_key_of(der[:cut]) == b""
    assert public_key_of(b"\x30\x80" + der[4:] + b"\0\0") == b""
    assert public_key_of(b"\x30\x85\x00" + der[1:]) == b""


def test_of_a_certificate_that_can_t_be_read_only_the_whole_can_be_pinned() -> None:
    class Odd:
        def getpeercert(self, binary_form: bool) -> bytes:
            return b"odd"

    tls: Any = Odd()
    key = PoolKey(Origin("https", "one.test", 443))
    Pins({"one.test": frozenset([hashlib.sha256(b"odd").digest()])}).check(key, tls)
    with pytest.raises(TLSError):
        Pins({"one.test": frozenset([hashlib.sha256(b"").digest()])}).check(key, tls)


# ── The option ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("pins", "error", "says"),
    [
        (STRANGER, TypeError, "a mapping of hosts to fingerprints, such as {'api.example.org': "),
        ([STRANGER], TypeError, "a mapping of hosts"),
        ({b"one.test": STRANGER}, TypeError, "a host in pins must be a str, not bytes"),
        ({"https://one.test": STRANGER}, ValueError, "no URL, no wildcard"),
        ({"*.one.test": STRANGER}, ValueError, "no URL, no wildcard"),
        ({"": STRANGER}, ValueError, "not empty"),
        ({"one test": STRANGER}, ValueError, "a host in pins is not a legal name"),
        ({"127.1": STRANGER}, ValueError, "a host in pins looks like a number"),
        ({"one.test": []}, ValueError, "has no fingerprint: it could never be reached"),
        ({"one.test": None}, TypeError, "a fingerprint in pins must be a str, not None"),
        ({"one.test": b"abc"}, TypeError, "must be a str, not bytes"),
        ({"one.test": [b"abc"]}, TypeError, "must be a str, not bytes"),
        ({"one.test": {"a": "b"}}, TypeError, "must be a str, not dict"),
        ({"one.test": "sha1/abc"}, ValueError, "a SHA-256, as 'sha256/' and 44 characters"),
        ({"one.test": "ab:" * 19 + "ab"}, ValueError, "a SHA-256"),
        ({"one.test": pin(b"")}, ValueError, "that of nothing: what made it has failed"),
    ],
)
def test_what_is_no_pin_is_told_when_the_pool_is_made(
    pins: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error) as caught:
        ConnectionPool(pins=pins)
    assert says in str(caught.value)
