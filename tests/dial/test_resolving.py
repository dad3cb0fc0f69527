"""Names to addresses: how often the resolver is asked, for whom, and what becomes of its answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.lowlevel
from inside import answers_kept, lookups_under_way, places_taken
from trio.testing import MockClock, wait_all_tasks_blocked

from triopool import ConnectionPool, ConnectTimeout, PoolClosed, ResolveError, Timeouts
from triopool._dial import names as _resolve
from triopool._dial.names import LOOKUP_LIMIT, MAX_REMEMBERED, SHARED_FOR, Names
from triopool._dial.system_resolver import HANGS_AFTER, MAX_LOOKUPS, SystemResolver
from triopool._origin import Origin
from triopool.abc import AddressInfo
from triopool.testing import Network

from .helpers import hello_server, ipv4, ipv6, looked_up, pool_on, told

URL = "http://host.test/"


async def get(pool: ConnectionPool, url: str = URL) -> None:
    assert (await pool.get(url)).content == b"hello"


def small_world(network: Network, *, lookup_delay: float = 0.1) -> None:
    network.host("host.test", "192.0.2.1", lookup_delay=lookup_delay)
    network.listen("192.0.2.1", 80, hello_server())


# ── One lookup for all who ask at one time ─────────────────────────────────────────────────────


async def test_ten_requests_at_one_time_are_one_lookup(autojump_clock: MockClock) -> None:
    async with Network() as network:
        small_world(network)
        async with pool_on(network) as pool, trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(get, pool)
        assert looked_up(network) == ["host.test"]


async def test_when_the_first_is_cancelled_the_others_get_the_answer(
    autojump_clock: MockClock,
) -> None:
    async with Network() as network, trio.open_nursery() as nursery:
        small_world(network, lookup_delay=1.0)
        names = Names(network.resolve, ttl=0.0)
        names.start(nursery)
        origin = Origin("http", "host.test", 80)
        answers: list[list[AddressInfo]] = []

        async def ask() -> None:
            answers.append((await names.addresses(origin)).to_try)

        async def ask_and_go() -> None:
            with trio.move_on_after(0.5) as scope:
                await ask()
            assert scope.cancelled_caught

        nursery.start_soon(ask_and_go)
        await trio.sleep(0.1)
        for _ in range(9):
            nursery.start_soon(ask)
        await trio.sleep(2.0)
        assert answers == [[ipv4(1)]] * 9
        assert looked_up(network) == ["host.test"]


async def test_a_request_after_all_have_gone_takes_over_their_lookup(
    autojump_clock: MockClock,
) -> None:
    async with Network() as network:
        small_world(network, lookup_delay=1.0)
        async with pool_on(network, timeouts=Timeouts(connect=0.4)) as pool:
            for _ in range(2):
                with pytest.raises(ConnectTimeout, match="looking up the host's addresses"):
                    await pool.get(URL)
            await get(pool)
        assert looked_up(network) == ["host.test"]
        assert trio.current_time() == 1.0


# ── Cached ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("ttl", "lookups"), [(0, 4), (10.0, 2), (None, 1)])
async def test_an_answer_is_kept_for_dns_ttl_seconds(
    autojump_clock: MockClock, ttl: float | None, lookups: int
) -> None:
    async with Network() as network:
        small_world(network)
        async with pool_on(network, dns_ttl=ttl) as pool:
            for pause in (0.0, 5.0, 4.9, 0.2):
                await trio.sleep(pause)
                await get(pool)
                pool.close_idle()
        assert len(looked_up(network)) == lookups


async def test_the_time_begins_when_the_answer_comes(autojump_clock: MockClock) -> None:
    async with Network() as network:
        small_world(network, lookup_delay=4.0)
        async with pool_on(network, dns_ttl=5.0) as pool:
            await get(pool)
            pool.close_idle()
            await trio.sleep(4.9)
            await get(pool)
        assert len(looked_up(network)) == 1


async def test_no_more_than_so_many_answers_are_kept(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_REMEMBERED == 1024
    monkeypatch.setattr(_resolve, "MAX_REMEMBERED", 3)
    async with Network() as network, trio.open_nursery() as nursery:
        names = Names(network.resolve, ttl=60.0)
        names.start(nursery)
        for number in range(5):
            network.host(f"host{number}.test", "192.0.2.1")
            await names.addresses(Origin("http", f"host{number}.test", 80))
        assert answers_kept(names) == 3
        assert not lookups_under_way(names)
        for number in (2, 3, 4, 0):
            await names.addresses(Origin("http", f"host{number}.test", 80))
        assert looked_up(network)[5:] == ["host0.test"]


async def test_each_use_of_an_answer_begins_with_another_address_of_each_family(
    autojump_clock: MockClock,
) -> None:
    async with Network() as network, trio.open_nursery() as nursery:
        network.host(
            "host.test", "2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "192.0.2.3"
        )
        names = Names(network.resolve, ttl=60.0)
        names.start(nursery)
        origin = Origin("http", "host.test", 80)
        turns = []
        for _ in range(4):
            found = await names.addresses(origin)
            turns.append([a.sockaddr[0][-1] for a in found.to_try])
        assert turns == [
            ["1", "2", "1", "2", "3"],
            ["2", "1", "2", "3", "1"],
            ["1", "2", "3", "1", "2"],
            ["2", "1", "1", "2", "3"],
        ]


async def test_those_who_share_a_lookup_spread_over_the_addresses_even_if_nothing_is_kept(
    autojump_clock: MockClock,
) -> None:
    async with Network() as network:
        network.host("host.test", "192.0.2.1", "192.0.2.2", lookup_delay=0.1)
        for last in (1, 2):
            network.listen(f"192.0.2.{last}", 80, hello_server())
        async with pool_on(network, dns_ttl=0) as pool, trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(get, pool)
        assert [network.connections_accepted(f"192.0.2.{last}", 80) for last in (1, 2)] == [2, 2]


# ── Errors ─────────────────────────────────────────────────────────────────────────────────────


async def test_an_error_is_shared_and_then_forgotten(autojump_clock: MockClock) -> None:
    async with Network() as network:
        network.host("host.test", lookup_delay=0.5)
        errors: list[ResolveError] = []

        async def fail(pool: ConnectionPool) -> None:
            with pytest.raises(ResolveError) as caught:
                await pool.get(URL)
            errors.append(caught.value)

        async with pool_on(network) as pool:
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(fail, pool)
            assert looked_up(network) == ["host.test"]
            assert len({id(error) for error in errors}) == 3
            assert len({id(error.__cause__) for error in errors}) == 1
            assert isinstance(errors[0].__cause__, socket.gaierror)
            assert str(errors[0]) == "'host.test' could not be resolved: Name or service not known"
            assert (errors[0].origin, errors[0].phase) == (
                Origin("http", "host.test", 80),
                "connect",
            )
            small_world(network)
            await get(pool)


async def test_a_lookup_that_hangs_does_not_poison_its_host(autojump_clock: MockClock) -> None:
    async with Network() as network:
        small_world(network)
        asked_at: list[float] = []

        async def hangs_once(host: str, port: int) -> Sequence[AddressInfo]:
            asked_at.append(trio.current_time())
            if len(asked_at) == 1:
                await trio.sleep_forever()
            return [ipv4(1, port)]

        async with pool_on(network, resolver=hangs_once) as pool:
            with pytest.raises(ConnectTimeout):
                await pool.get(URL, timeouts=Timeouts(connect=SHARED_FOR - 1))
            with pytest.raises(ConnectTimeout):
                await pool.get(URL, timeouts=Timeouts(connect=2.0))
            await get(pool)
        assert asked_at == [0.0, SHARED_FOR + 1]


async def test_a_lookup_that_hangs_is_given_up(autojump_clock: MockClock) -> None:
    async def hang(host: str, port: int) -> Sequence[AddressInfo]:
        return cast("Sequence[AddressInfo]", await trio.sleep_forever())

    async with (
        Network() as network,
        pool_on(network, resolver=hang, timeouts=Timeouts(connect=None)) as pool,
    ):
        with pytest.raises(ResolveError, match=r"could not be resolved: no answer within 60 s"):
            await pool.get(URL)
        assert trio.current_time() == LOOKUP_LIMIT


async def test_a_late_answer_does_not_end_its_successors_lookup(autojump_clock: MockClock) -> None:
    async with Network() as network, trio.open_nursery() as nursery:
        delays = iter([SHARED_FOR + 2.0, 5.0])

        async def slow(host: str, port: int) -> Sequence[AddressInfo]:
            await trio.sleep(next(delays))
            return await network.resolve(host, port)

        network.host("host.test", "192.0.2.1")
        names = Names(slow, ttl=0.0)
        names.start(nursery)
        origin = Origin("http", "host.test", 80)
        nursery.start_soon(names.addresses, origin)
        await trio.sleep(SHARED_FOR + 1)
        nursery.start_soon(names.addresses, origin)
        await trio.sleep(2.0)  # the first has ended, the second has not
        assert lookups_under_way(names) == 1
        await names.addresses(origin)
        assert trio.current_time() == SHARED_FOR + 6
        assert not lookups_under_way(names)


class Crash(Exception):
    pass


@pytest.mark.parametrize("crash", [Crash("mine"), trio.TooSlowError("mine"), UnicodeError("mine")])
async def test_another_exception_of_a_resolver_reaches_the_caller_as_itself(
    autojump_clock: MockClock, crash: Exception
) -> None:
    async def resolver(host: str, port: int) -> Sequence[AddressInfo]:
        await trio.sleep(0.1)
        raise crash

    async with Network() as network, pool_on(network, resolver=resolver) as pool:
        for _ in range(2):
            with pytest.raises(type(crash)) as caught:
                await pool.get(URL)
            assert caught.value is crash
        assert pool.statistics().open == 0


async def test_a_resolver_may_raise_oserror_without_an_errno(autojump_clock: MockClock) -> None:
    async def resolver(host: str, port: int) -> Sequence[AddressInfo]:
        raise OSError("not in the table")

    async with Network() as network, pool_on(network, resolver=resolver) as pool:
        with pytest.raises(
            ResolveError, match=r"'host.test' could not be resolved: not in the table"
        ):
            await pool.get(URL)


# ── What a resolver may return ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "answer", [[], (), [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("192.0.2.1", 80))]]
)
async def test_no_address_is_a_resolve_error(autojump_clock: MockClock, answer: Any) -> None:
    async def resolver(host: str, port: int) -> Any:
        return answer

    async with Network() as network, pool_on(network, resolver=resolver) as pool:
        with pytest.raises(
            ResolveError, match=r"'host.test' could not be resolved: it has no address"
        ):
            await pool.get(URL)


async def test_plain_tuples_will_do(autojump_clock: MockClock) -> None:
    async def resolver(host: str, port: int) -> Any:
        return (tuple(address) for address in (ipv6(1, port), ipv4(1, port)))

    seen: list[AddressInfo] = []

    async with Network() as network:
        network.listen("192.0.2.1", 80, hello_server())

        def factory(address: AddressInfo) -> Any:
            seen.append(address)
            return network.socket(address)

        async with pool_on(network, resolver=resolver, socket_factory=factory) as pool:
            await get(pool)
        assert seen == [ipv6(1), ipv4(1)]
        assert all(isinstance(address, AddressInfo) for address in seen)


async def test_what_getaddrinfo_lists_for_other_kinds_of_sockets_is_left_out(
    autojump_clock: MockClock,
) -> None:
    # As from a resolver that calls getaddrinfo(host, port), without type=SOCK_STREAM.
    async def resolver(host: str, port: int) -> Any:
        kinds = [(socket.SOCK_STREAM, 6), (socket.SOCK_DGRAM, 17), (socket.SOCK_RAW, 0), (0, 0)]
        return [
            (socket.AF_INET, kind, proto, "", (f"192.0.2.{last}", port))
            for last in (1, 2)
            for kind, proto in kinds
        ]

    async with Network() as network:
        network.listen("192.0.2.2", 80, hello_server())
        async with pool_on(network, resolver=resolver) as pool:
            await get(pool)
        assert {event.endpoint for event in network.events("socket")} == {
            ("192.0.2.1", 80),
            ("192.0.2.2", 80),
        }


@pytest.mark.parametrize(
    "answer", ["192.0.2.1", ["192.0.2.1"], [("192.0.2.1", 80)], [None], None, 5]
)
async def test_nonsense_from_a_resolver_is_the_callers_typeerror_and_not_the_pools_end(
    autojump_clock: MockClock, answer: Any
) -> None:
    async def resolver(host: str, port: int) -> Any:
        return answer if host == "host.test" else [ipv4(1, port)]

    async with Network() as network:
        network.listen("192.0.2.1", 80, hello_server())
        async with pool_on(network, resolver=resolver) as pool:
            with pytest.raises(TypeError):
                await pool.get(URL)
            await get(pool, "http://other.test/")


# ── Literal addresses, odd names ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("[::1]", "::1"),
        ("127.0.0.1", "127.0.0.1"),
        ("[2001:DB8::1]", "2001:db8::1"),
        ("[::ffff:192.0.2.1]", "::ffff:192.0.2.1"),
    ],
)
async def test_literal_addresses_are_never_looked_up(
    autojump_clock: MockClock, host: str, address: str
) -> None:
    async with Network() as network:
        network.listen(address, 8080, hello_server())
        async with pool_on(network) as pool:
            await get(pool, f"http://{host}:8080/")
        assert looked_up(network) == []
        assert network.connections_accepted(address, 8080) == 1


async def test_the_scope_of_a_link_local_address_reaches_the_socket(
    autojump_clock: MockClock,
) -> None:
    index, name = socket.if_nameindex()[0]
    seen: list[Any] = []

    def factory(address: AddressInfo) -> Any:
        seen.append(address.sockaddr)
        return network.socket(address)

    async with Network() as network:
        network.listen("fe80::1", 80, hello_server())
        async with pool_on(network, socket_factory=factory) as pool:
            await get(pool, f"http://[fe80::1%25{name}]/")
    # Whether the address is spelt with the scope depends on the system; its number stands apart.
    [(_, port, _, scope)] = seen
    assert (port, scope) == (80, index)


async def test_an_unknown_scope_is_a_resolve_error(autojump_clock: MockClock) -> None:
    async with Network() as network, pool_on(network) as pool:
        with pytest.raises(ResolveError, match="'fe80::1%nowhere' could not be resolved"):
            await pool.get("http://[fe80::1%25nowhere]/")


async def test_a_name_is_looked_up_as_it_stands_with_its_trailing_dot(
    autojump_clock: MockClock,
) -> None:
    # The dot tells the system's resolver to leave its search domains alone.
    async with Network() as network:
        small_world(network)
        async with pool_on(network) as pool:
            await get(pool, "http://host.test./")
        assert looked_up(network) == ["host.test."]


async def test_an_international_name_is_looked_up_as_idna_has_it(
    autojump_clock: MockClock,
) -> None:
    async with Network() as network:
        network.host("xn--bcher-kva.test", "192.0.2.1")
        network.listen("192.0.2.1", 80, hello_server())
        async with pool_on(network) as pool:
            await get(pool, "http://Bücher.test/")
        assert looked_up(network) == ["xn--bcher-kva.test"]


# ── The system's resolver ──────────────────────────────────────────────────────────────────────


async def test_trios_own_hook_for_name_resolution_is_honoured(autojump_clock: MockClock) -> None:
    asked: list[tuple[Any, ...]] = []

    class Hook(trio.abc.HostnameResolver):
        async def getaddrinfo(
            self,
            host: Any,
            port: Any,
            family: int = 0,
            type: int = 0,  # noqa: A002 - the name is Trio's
            proto: int = 0,
            flags: int = 0,
        ) -> Any:
            asked.append((host, port, type))
            return [tuple(ipv4(1, 80))]

        async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
            raise NotImplementedError

    async with Network() as network:
        network.listen("192.0.2.1", 80, hello_server())
        trio.socket.set_custom_hostname_resolver(Hook())
        async with pool_on(network, resolver=None) as pool:
            await get(pool)
    assert asked == [(b"host.test", 80, socket.SOCK_STREAM)]


async def test_localhost_is_found_by_the_system() -> None:
    async with trio.open_nursery() as nursery:
        found = await SystemResolver(nursery)("localhost", 80)
    assert {address.sockaddr[0] for address in found} & {"127.0.0.1", "::1"}
    assert {address.type for address in found} == {socket.SOCK_STREAM}


class HangingNames:
    """In place of the system's ``getaddrinfo``: looks up literals, and host.test, and else hangs.

    Attributes:
      asked: how many look-ups hang.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._end = threading.Event()

    def __call__(self, host: str | bytes, port: int, **options: Any) -> Any:
        if host in (b"host.test", "192.0.2.1"):
            return [tuple(ipv4(1, port))]
        self.asked += 1
        self._end.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    def end(self) -> None:
        self._end.set()


@pytest.fixture
def hanging_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[HangingNames]:
    names = HangingNames()
    monkeypatch.setattr(socket, "getaddrinfo", names)
    yield names
    names.end()


async def until_so_many_hang(names: HangingNames, number: int) -> None:
    while names.asked < number:
        await trio.lowlevel.checkpoint()
    await wait_all_tasks_blocked()


async def test_look_ups_that_hang_leave_room_for_others_and_for_other_threads(
    mock_clock: MockClock, hanging_names: HangingNames, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"content")
    async with Network() as network, trio.open_nursery() as nursery:
        network.listen("192.0.2.1", 80, hello_server())

        async def ask_in_vain(number: int) -> None:
            with pytest.raises(PoolClosed):
                await pool.get(f"http://dead{number}.test/")

        async with pool_on(network, resolver=None, timeouts=Timeouts(connect=None)) as pool:
            for number in range(2 * MAX_LOOKUPS):
                nursery.start_soon(ask_in_vain, number)
            await until_so_many_hang(hanging_names, MAX_LOOKUPS)
            assert hanging_names.asked == MAX_LOOKUPS

            # Nobody else notices: not an upload, not a thread of the program's own.
            await pool.put("http://192.0.2.1/", content=tmp_path / "file")
            assert await trio.to_thread.run_sync(len, "abc") == 3

            # After a while they don't count any more; not even for other names of the pool.
            mock_clock.jump(HANGS_AFTER)
            await until_so_many_hang(hanging_names, 2 * MAX_LOOKUPS)
            mock_clock.jump(HANGS_AFTER)
            await wait_all_tasks_blocked()
            await get(pool)
            assert pool.statistics().dialling == 2 * MAX_LOOKUPS


async def test_look_ups_that_are_cancelled_give_their_places_back(
    mock_clock: MockClock, hanging_names: HangingNames
) -> None:
    async with trio.open_nursery() as nursery:
        resolver = SystemResolver(nursery)
        async with trio.open_nursery() as asking:
            for number in range(MAX_LOOKUPS + 5):  # Five of them wait for a place.
                asking.start_soon(resolver, f"dead{number}.test", 80)
            await until_so_many_hang(hanging_names, MAX_LOOKUPS)
            asking.cancel_scope.cancel()
        assert await resolver("host.test", 80) == [ipv4(1)]
        await wait_all_tasks_blocked()
        assert places_taken(resolver) == 0


async def test_leaving_the_pool_waits_for_no_look_up_that_hangs(
    hanging_names: HangingNames,
) -> None:
    async with trio.open_nursery() as nursery, ConnectionPool() as pool:

        async def ask_in_vain() -> None:
            with pytest.raises(PoolClosed):
                await pool.get("http://dead.test/")

        nursery.start_soon(ask_in_vain)
        await until_so_many_hang(hanging_names, 1)


# ── The end of the pool ────────────────────────────────────────────────────────────────────────


async def test_leaving_the_pool_ends_a_lookup(autojump_clock: MockClock) -> None:
    async with Network() as network, trio.open_nursery() as nursery:
        small_world(network, lookup_delay=1000.0)
        ended: list[type[Exception]] = []

        async def request(pool: ConnectionPool) -> None:
            try:
                await pool.get(URL)
            except PoolClosed as exc:
                ended.append(type(exc))

        async with pool_on(network) as pool:
            nursery.start_soon(request, pool)
            nursery.start_soon(request, pool)
            await trio.sleep(1.0)
        assert trio.current_time() == 1.0
        await wait_all_tasks_blocked()
        assert ended == [PoolClosed, PoolClosed]
        assert told(network, "socket") == []
