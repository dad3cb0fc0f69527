"""The race: who is tried when, who wins, and that all the others are closed. In virtual time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from triopool import ConnectError, ConnectionPool, ConnectTimeout, PoolClosed, Timeouts
from triopool._dial.happy_eyeballs import MAX_ATTEMPTS_AT_ONCE, interleave, race
from triopool.abc import AddressInfo
from triopool.testing import KeepOpen, Network, NetworkSocket, script

from .helpers import hello_server, ipv4, ipv6, pool_on, told

URL = "http://host.test/"
SIX, FOUR = "2001:db8::1", "192.0.2.1"


async def dial(network: Network, **options: float) -> None:
    """Open one connection, and see that it is the only one."""
    async with pool_on(network, timeouts=Timeouts(connect=1000.0), **options) as pool:
        try:
            await pool.warm_up(URL)
        finally:
            assert len(network.open_sockets) == pool.statistics().open


# ── Order and times ────────────────────────────────────────────────────────────────────────────


def test_families_are_interleaved_beginning_with_the_resolvers_first() -> None:
    six, four = [ipv6(1), ipv6(2), ipv6(3), ipv6(4)], [ipv4(1), ipv4(2)]
    mixed = [six[0], four[0], six[1], four[1], six[2], six[3]]
    assert interleave([*six, *four]) == mixed
    assert interleave([*four, *six]) == [four[0], six[0], four[1], *six[1:]]
    assert interleave(six) == six
    assert interleave([]) == []


def test_an_address_is_tried_once_though_the_resolver_names_it_twice() -> None:
    assert interleave([ipv4(1), ipv6(1), ipv4(1), ipv6(1)]) == [ipv4(1), ipv6(1)]


async def test_attempts_start_250_ms_apart_and_families_alternate(
    autojump_clock: MockClock,
) -> None:
    addresses = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1", "192.0.2.2"]
    async with Network() as network:
        network.host("host.test", *addresses)
        for address in addresses[:-1]:
            network.hang(address, 80)
        network.listen("192.0.2.2", 80, hello_server(), connect_delay=0.1)
        await dial(network)
        assert told(network, "socket") == [
            (0.0, "socket", "2001:db8::1"),
            (0.25, "socket", "192.0.2.1"),
            (0.5, "socket", "2001:db8::2"),
            (0.75, "socket", "192.0.2.2"),
        ]
        assert told(network, "connected") == [(0.85, "connected", "192.0.2.2")]


async def test_the_delay_can_be_set(autojump_clock: MockClock) -> None:
    async with Network() as network:
        network.host("host.test", SIX, FOUR)
        network.hang(SIX, 80)
        network.listen(FOUR, 80, hello_server())
        await dial(network, happy_eyeballs_delay=0.1)
        assert told(network, "connected") == [(0.1, "connected", FOUR)]


async def test_a_connection_in_time_starts_no_second_attempt(autojump_clock: MockClock) -> None:
    async with Network() as network:
        network.host("host.test", SIX, FOUR)
        network.listen(SIX, 80, hello_server(), connect_delay=0.2)
        await dial(network)
        assert told(network, "socket") == [(0.0, "socket", SIX)]
        assert trio.current_time() == 0.2


async def test_a_failure_starts_the_next_attempt_at_once(autojump_clock: MockClock) -> None:
    async with Network() as network:
        network.host("host.test", "192.0.2.1", "192.0.2.2", "192.0.2.3")
        network.refuse("192.0.2.1", 80, after=0.05)
        network.refuse("192.0.2.2", 80, after=0.02)
        network.listen("192.0.2.3", 80, hello_server())
        await dial(network)
        assert [at for at, _, _ in told(network, "socket")] == [0.0, 0.05, 0.07]


async def test_the_failure_of_an_older_attempt_starts_the_next_at_once_too(
    autojump_clock: MockClock,
) -> None:
    async with Network() as network:
        network.host("host.test", "192.0.2.1", "192.0.2.2", "192.0.2.3")
        network.refuse("192.0.2.1", 80, after=0.3)
        network.hang("192.0.2.2", 80)
        network.listen("192.0.2.3", 80, hello_server())
        await dial(network)
        assert [at for at, _, _ in told(network, "socket")] == [0.0, 0.25, 0.3]


async def test_no_more_than_six_attempts_are_live(autojump_clock: MockClock) -> None:
    addresses = [f"192.0.2.{number}" for number in range(1, 10)]
    async with Network() as network:
        network.host("host.test", *addresses)
        for address in addresses:
            network.hang(address, 80)
        # The sixth starts at 1.25; the seventh has to wait until one of the six ends.
        network.refuse("192.0.2.3", 80, after=2.5)
        network.listen("192.0.2.7", 80, hello_server(), connect_delay=0.5)
        most = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dial, network)
            for _ in range(35):
                await trio.sleep(0.1)
                most = max(most, len(network.open_sockets))
        assert most == MAX_ATTEMPTS_AT_ONCE == 6
        starts = [at for at, _, _ in told(network, "socket")]
        assert starts == [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 3.0]


async def test_losers_are_closed_before_the_winner_is_returned(autojump_clock: MockClock) -> None:
    async with Network() as network:
        for last in (1, 2):
            network.hang(f"192.0.2.{last}", 80)
        network.listen("192.0.2.3", 80, hello_server(), connect_delay=0.1)
        addresses = [ipv4(1), ipv4(2), ipv4(3)]
        winner = await race(addresses, partial(connect, network), 0.25, never_told)
        assert winner is not None
        assert winner[0] == ipv4(3)
        assert list(network.open_sockets) == [winner[1]]
        winner[1].close()


# ── Ends ───────────────────────────────────────────────────────────────────────────────────────


async def connect(network: Network, address: AddressInfo) -> trio.socket.SocketType:
    sock = network.socket(address)
    try:
        await sock.connect(address.sockaddr)
    except BaseException:
        sock.close()
        raise
    return sock


def never_told(address: AddressInfo, exc: OSError) -> None:
    raise AssertionError("no address fails in this test")


async def test_all_failures_are_told_together(autojump_clock: MockClock) -> None:
    async with Network() as network:
        network.host("host.test", SIX, FOUR)
        network.refuse(SIX, 80, after=0.3, error=101)  # ENETUNREACH
        network.refuse(FOUR, 80)
        with pytest.raises(ConnectError) as caught:
            await dial(network)
        message = str(caught.value)
        assert message.startswith("could not connect to http://host.test:80: ")
        assert f"{FOUR}:80: Connection refused" in message
        assert f"[{SIX}]:80: Network is unreachable" in message
        group = caught.value.__cause__
        assert isinstance(group, ExceptionGroup)
        assert {type(exc) for exc in group.exceptions} == {ConnectionRefusedError, OSError}
        assert trio.current_time() == 0.3


async def test_of_a_thousand_addresses_fifty_are_tried_and_ten_are_told(
    autojump_clock: MockClock,
) -> None:
    async with Network() as network:
        six = [f"2001:db8::{number:x}" for number in range(1, 501)]
        four = [f"192.0.2.{number % 256}" for number in range(256)]
        four += [f"198.51.100.{number}" for number in range(244)]
        network.host("host.test", *six, *four)
        with pytest.raises(ConnectError) as caught:
            await dial(network)
        assert [address for _, _, address in told(network, "connect")] == [
            address for pair in zip(six[:25], four[:25], strict=True) for address in pair
        ]
        message = str(caught.value)
        assert message.endswith("; and 990 more (950 not tried)")
        assert message.count("Connection refused") == 10
        assert len(message) < 1000
        group = caught.value.__cause__
        assert isinstance(group, ExceptionGroup)
        assert len(group.exceptions) == 50

        for address in (*six, *four):
            network.hang(address, 80)
        with pytest.raises(ConnectTimeout) as late:
            await dial(network)
        assert "connecting to [2001:db8::1]:80, 192.0.2.0:80, " in str(late.value)
        assert str(late.value).endswith(" and 40 more")


async def test_the_only_failure_is_the_cause_itself(autojump_clock: MockClock) -> None:
    async with Network() as network:
        with pytest.raises(ConnectError) as caught:
            async with pool_on(network) as pool:
                await pool.get("http://192.0.2.1/")
        assert isinstance(caught.value.__cause__, ConnectionRefusedError)


async def test_a_timeout_tells_what_was_tried_and_what_had_failed(
    autojump_clock: MockClock,
) -> None:
    async with Network() as network:
        network.host("host.test", "192.0.2.1", "192.0.2.2", "192.0.2.3")
        network.refuse("192.0.2.1", 80, after=1.0)
        network.hang("192.0.2.2", 80)
        network.hang("192.0.2.3", 80)
        async with pool_on(network, timeouts=Timeouts(connect=2.0)) as pool:
            with pytest.raises(ConnectTimeout) as caught:
                await pool.get(URL)
            assert not network.open_sockets
        assert str(caught.value).endswith(
            " s: 192.0.2.1:80: Connection refused; connecting to 192.0.2.2:80, 192.0.2.3:80"
        )
        assert trio.current_time() == 2.0


@pytest.mark.parametrize("attempt", range(20))  # Trio tosses a coin for who comes first.
async def test_two_that_connect_in_the_same_tick_leave_one_socket(
    autojump_clock: MockClock, attempt: int
) -> None:
    async with Network() as network:
        network.host("host.test", SIX, FOUR)
        network.listen(SIX, 80, script(KeepOpen()), connect_delay=0.5)
        network.listen(FOUR, 80, script(KeepOpen()), connect_delay=0.25)
        await dial(network)
        assert len(told(network, "close")) == 2  # the loser, and the pool's end
        assert trio.current_time() == 0.5


async def test_the_second_of_two_that_were_woken_together_closes_its_own(
    autojump_clock: MockClock,
) -> None:
    """A wake-up wins over the cancellation that follows it, so both have a socket to return."""
    async with Network() as network:
        now = trio.Event()
        for last in (1, 2):
            network.listen(f"192.0.2.{last}", 80, script(KeepOpen()))

        async def connect_then_wait(address: AddressInfo) -> trio.socket.SocketType:
            sock = await connect(network, address)
            await now.wait()
            return sock

        async with trio.open_nursery() as nursery:
            nursery.start_soon(set_after, 1.0, now)
            won = await race([ipv4(1), ipv4(2)], connect_then_wait, 0.25, never_told)
        assert won is not None
        assert list(network.open_sockets) == [won[1]]
        won[1].close()


async def test_a_caller_cancelled_in_mid_race_leaves_no_socket(autojump_clock: MockClock) -> None:
    async with Network() as network:
        addresses = [ipv4(1), ipv4(2), ipv4(3)]
        for address in addresses:
            network.hang(*address.sockaddr)
        with trio.move_on_after(0.6) as scope:
            await race(addresses, partial(connect, network), 0.25, never_told)
        assert scope.cancelled_caught
        assert len(told(network, "socket")) == 3
        assert not network.open_sockets


async def test_leaving_the_pool_in_mid_race_leaves_no_socket(autojump_clock: MockClock) -> None:
    async with Network() as network:
        network.host("host.test", SIX, FOUR)
        network.hang(SIX, 80)
        network.hang(FOUR, 80)
        async with trio.open_nursery() as nursery, pool_on(network) as pool:
            nursery.start_soon(expect_closed, pool)
            await trio.sleep(0.6)
            assert len(network.open_sockets) == 2


async def expect_closed(pool: ConnectionPool) -> None:
    with pytest.raises(PoolClosed):
        await pool.get(URL)


# ── Crashes ────────────────────────────────────────────────────────────────────────────────────


class Crash(Exception):
    pass


async def test_a_crash_in_one_attempt_reaches_the_caller_as_itself_and_closes_all_others(
    autojump_clock: MockClock,
) -> None:
    async with Network() as network:
        network.host("host.test", SIX, FOUR)
        network.hang(SIX, 80)
        crash = Crash("of the caller's own")

        async def factory(address: AddressInfo) -> NetworkSocket:
            if address.sockaddr[0] == FOUR:
                await trio.sleep(0.1)
                raise crash
            return network.socket(address)

        async with pool_on(network, socket_factory=factory) as pool:
            with pytest.raises(Crash) as caught:
                await pool.get(URL)
            assert caught.value is crash
            assert trio.current_time() == 0.35
            assert not network.open_sockets


@pytest.mark.parametrize("attempt", range(20))  # Trio tosses a coin for who comes first.
async def test_a_crash_in_the_tick_of_a_connect_closes_the_winner(
    autojump_clock: MockClock, attempt: int
) -> None:
    async with Network() as network:
        network.listen("192.0.2.1", 80, script(KeepOpen()))
        now = trio.Event()

        async def connect_or_crash(address: AddressInfo) -> trio.socket.SocketType:
            connected = await connect(network, ipv4(1)) if address == ipv4(1) else None
            await now.wait()
            if connected is None:
                raise Crash
            return connected

        async with trio.open_nursery() as nursery:
            nursery.start_soon(set_after, 1.0, now)
            with pytest.raises(Crash):
                await race([ipv4(1), ipv4(2)], connect_or_crash, 0.25, never_told)
        assert not network.open_sockets


async def set_after(seconds: float, event: trio.Event) -> None:
    await trio.sleep(seconds)
    event.set()


async def test_a_loser_that_crashes_when_it_is_cancelled_is_not_hushed_up(
    autojump_clock: MockClock,
) -> None:
    async with Network() as network:
        network.host("host.test", SIX, FOUR)
        network.listen(FOUR, 80, script(KeepOpen()))

        async def factory(address: AddressInfo) -> NetworkSocket:
            if address.sockaddr[0] == SIX:
                try:
                    await trio.sleep_forever()
                finally:
                    raise Crash
            return network.socket(address)

        async with pool_on(network, socket_factory=factory) as pool:
            with pytest.raises(Crash):
                await pool.get(URL)
            assert told(network, "connected") == [(0.25, "connected", FOUR)]
            assert not network.open_sockets


# ── Any script ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Answer:
    """What one address does: after so many seconds, connect or refuse."""

    after: float
    connects: bool


@dataclass
class Model:
    """The race as one would do it on paper: one event after the other, and no tasks."""

    answers: list[Answer]
    now: float = 0.0
    starts: list[float] = field(default_factory=list)
    live: list[tuple[float, int]] = field(default_factory=list)
    early_starts: int = 0
    winner: int | None = None

    def run(self) -> None:
        for number, answer in enumerate(self.answers):
            self.pass_time(math.inf, until=lambda: len(self.live) < MAX_ATTEMPTS_AT_ONCE)
            if self.winner is not None:
                return
            self.starts.append(self.now)
            self.live.append((self.now + answer.after, number))
            self.pass_time(self.now + 0.25, until=lambda: self.early_starts > 0)
            self.early_starts = max(0, self.early_starts - 1)
        self.pass_time(math.inf, until=lambda: not self.live)

    def pass_time(self, deadline: float, until: Callable[[], bool]) -> None:
        while self.winner is None and not until():
            ends_at, number = min(self.live, default=(math.inf, -1))
            self.now = min(ends_at, deadline)
            if ends_at >= deadline:
                return
            self.live.remove((ends_at, number))
            if self.answers[number].connects:
                self.winner = number
            else:
                self.early_starts += 1


def distinct(milliseconds: list[tuple[int, bool]]) -> list[Answer]:
    """Each address gets its own power of two of microseconds, so that no two ends coincide."""
    return [
        Answer(ms / 1000 + 2**number / 1e6, connects)
        for number, (ms, connects) in enumerate(milliseconds)
    ]


@given(
    st.lists(
        st.tuples(st.one_of(st.integers(0, 600), st.just(5000)), st.booleans()),
        min_size=1,
        max_size=9,
    ).map(distinct),
    st.integers(0, 9),
)
def test_for_any_script_the_winner_is_the_models_and_one_socket_stays_open(
    answers: list[Answer], sixes: int
) -> None:
    addresses = interleave(
        ipv6(number) if number < sixes else ipv4(number) for number in range(len(answers))
    )
    model = Model(answers)
    model.run()
    failed: list[AddressInfo] = []

    async def main() -> None:
        async with Network() as network:
            for address, answer in zip(addresses, answers, strict=True):
                host, port = address.sockaddr[:2]
                if answer.connects:
                    network.listen(host, port, script(KeepOpen()), connect_delay=answer.after)
                else:
                    network.refuse(host, port, after=answer.after)
            won = await race(
                addresses,
                partial(connect, network),
                0.25,
                lambda address, _: failed.append(address),
            )
            starts = [at for at, _, _ in told(network, "socket")]
            assert starts == pytest.approx(model.starts, abs=1e-9)
            if model.winner is None:
                assert won is None
                assert not network.open_sockets
                assert set(failed) == set(addresses)
            else:
                assert won is not None
                assert trio.current_time() == pytest.approx(model.now)
                assert won[0] == addresses[model.winner]
                assert list(network.open_sockets) == [won[1]]
                won[1].close()

    trio.run(main, clock=MockClock(autojump_threshold=0))
