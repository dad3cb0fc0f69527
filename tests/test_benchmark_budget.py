"""The benchmarks that look into the package: where a request's time goes, and what it keeps.

What they find depends on the machine. What is tested is that they still know the package: that
the seams are where the table says, and that what should be counted is counted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio
from servers import require_program

import triopool
from triopool._request.preparations import Preparations

# A part of the benchmarks, and tested with them: what runs the tests need not wait for it.
pytest.importorskip("matplotlib", reason='the benchmarks need pip install -e ".[benchmarks]"')

from benchmarks import memory, phases, proxies_in_turn
from benchmarks.server import serve


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """A server in a process of its own that answers /held when it is told to, and else at once."""
    with memory.run_gate() as origin:
        yield origin


@pytest.fixture
def gate(origin: str) -> Iterator[memory.Gate]:
    gate = memory.Gate(origin)
    yield gate
    gate.close()


# ── Phases ─────────────────────────────────────────────────────────────────────────────────────

ONCE_EACH = ("acquire", "write", "receive", "release (h11)", "chain")


def seams() -> list[Callable[..., Any]]:
    return [phases._find(seam)[2] for seam in (*phases.TRIOPOOL, *phases.BARE)]


def test_each_phase_is_entered_as_often_as_the_table_says(origin: str) -> None:
    before = seams()
    # It would raise if a seam that can't depend on the server were passed more or less often.
    found = phases.measure(f"{origin}/2000", requests=40, turns=2, at_once=4)
    assert seams() == before
    entries = {row["phase"]: row["entries"] for row in found["clients"]["triopool"]["phases"]}
    # h11's event is made once for each URL, and not for each request.
    assert set(entries) == set(phases.PHASES) - {"prepare (h11)"}
    for phase in ONCE_EACH:
        assert entries.pop(phase) == 1.0 or phase == "receive", phase
    assert entries.pop("rest") == 0.0
    assert all(times >= 1.0 for times in entries.values())


def test_the_phases_add_up_to_what_a_request_costs(origin: str) -> None:
    found = phases.measure(f"{origin}/2000", requests=40, turns=1, at_once=4)
    for client in found["clients"].values():
        total = sum(row["us"] for row in client["phases"])
        assert total == pytest.approx(client["unprofiled_us"])
    shown = phases.show(json.loads(json.dumps(found)))
    assert all(phase in shown for phase in phases.PHASES)


@pytest.mark.parametrize("where", ["triopool._nothing:f", "triopool._slots.engine:Slots.nothing"])
def test_a_seam_that_is_gone_is_named(where: str) -> None:
    with pytest.raises(phases.SeamError, match=where):
        phases._find(phases.Seam("acquire", where))


def test_a_seam_that_is_no_function_is_named() -> None:
    with pytest.raises(phases.SeamError, match=r"Slots\.max_connections is no function"):
        phases._find(phases.Seam("acquire", "triopool._slots.engine:Slots.max_connections"))


def test_a_seam_that_is_passed_too_seldom_is_named(
    origin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The pool imports it by name, so that it is looked up elsewhere.
    seam = phases.Seam("chain", "triopool._client.redirect:leads_to")
    clients = {"triopool": (phases._open_triopool, (seam,))}
    monkeypatch.setattr(phases, "CLIENTS", clients)
    leads_to = triopool._client.redirect.leads_to
    with pytest.raises(
        phases.SeamError, match=r"went 0 times through triopool\._client\.redirect:leads_to"
    ):
        phases.measure(f"{origin}/2000", requests=4, turns=1, at_once=1)
    assert triopool._client.redirect.leads_to is leads_to


class Clock:
    """Moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


def test_time_belongs_to_the_innermost_phase_and_suspended_ones_have_none() -> None:
    clock = Clock()
    meter = phases.Meter(2, phases.Costs(), clock)

    async def inner(*, ticks: int) -> str:
        clock.now += ticks
        await trio.lowlevel.checkpoint()
        clock.now += ticks
        return "done"

    async def outer(ticks: int) -> None:
        clock.now += 100 * ticks
        assert await inner_counted(ticks=ticks) == "done"
        clock.now += 100 * ticks

    inner_counted, outer_counted = meter.wrap(1, inner), meter.wrap(0, outer)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for ticks in (1, 10):
                nursery.start_soon(_awaits(outer_counted), ticks)
            clock.now += 5_000

    trio.run(main)
    meter.stop()
    assert meter.spent == [2 * 1100, 2 * 11, 5_000]
    assert meter.entered == [2, 2]


def _awaits(function: Callable[..., Any]) -> Callable[..., Any]:
    async def call(*args: object) -> None:
        await function(*args)

    return call


def test_exceptions_and_cancellations_go_through_a_phase() -> None:
    meter = phases.Meter(2, phases.Costs(), Clock())
    caught: list[type[BaseException]] = []

    async def sleeps() -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            caught.append(trio.Cancelled)
            raise

    def fails() -> None:
        raise KeyError("a")

    async def main() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            await meter.wrap(0, sleeps)()
        assert scope.cancelled_caught
        with pytest.raises(KeyError):
            meter.wrap(1, fails)()

    trio.run(main)
    meter.stop()  # which sees that no phase is left over
    assert caught == [trio.Cancelled]
    assert meter.entered == [1, 1]


# ── Memory ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "what", [memory.TASK, memory.IDLE, memory.WAITING, memory.IN_FLIGHT], ids=str
)
def test_each_one_more_takes_memory(what: str, gate: memory.Gate) -> None:
    one = memory.size("triopool", what, 20, gate.origin, trace=False)
    assert one["blocks"] is not None
    assert one["blocks"] > 5


def test_tracemalloc_tells_how_large_one_is(gate: memory.Gate) -> None:
    one = memory._in_a_process(
        "size", client="triopool", what=memory.IDLE, n=10, origin=gate.origin, trace=True
    )
    assert one["heap_bytes"] > 1000


def test_what_a_get_allocates_is_counted(origin: str) -> None:
    found = memory._in_a_process(
        "allocations", client="triopool", url=f"{origin}/2000", requests=100
    )
    assert found["peak_bytes"] > 2000
    assert found["peak_blocks"] > 20


def test_all_kinds_of_requests_are_run_and_looked_at(origin: str) -> None:
    found = trio.run(lambda: memory.run_load(f"{origin}/2000", requests=800, slices=4, fill=5))
    # What is cancelled may have been quicker.
    assert found["answered"] + found["cancelled"] == 784 + 5
    assert found["failed"] == 16 + 5
    assert len(found["slices"]) == 4
    assert found["growth"]["blocks"] is not None
    assert "800 requests" in memory._show_growth(json.loads(json.dumps(found)))


def test_what_grows_is_found(origin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[object] = []
    prepare = Preparations.plain

    def leaky(*args: Any, **kwargs: Any) -> Any:
        kept.append([{} for _ in range(20)])
        return prepare(*args, **kwargs)

    monkeypatch.setattr(Preparations, "plain", leaky)
    found = trio.run(lambda: memory.run_load(f"{origin}/2000", requests=400, slices=4, fill=0))
    blocks = found["growth"]["blocks"]
    assert blocks["by"] > 10 * 100  # of 100 requests in a slice, each leaves 20


@pytest.mark.parametrize(
    ("series", "grows"),
    [
        ([100.0] * 10, False),
        ([100.0 * i for i in range(10)], True),
        ([0, 100, 200, 300, 400, 400, 400, 400, 400, 400], False),  # a cache that fills
        ([0, 0, 0, 0, 0, 0, 0, 900, 0, 0], False),  # one that is odd
        ([500, 400, 300, 200, 100, 80, 60, 40, 20, 0], False),
        ([i % 2 * 30 for i in range(10)], False),
        ([i % 2 * 10 + 30 * i for i in range(10)], True),
        ([0] * 10 + [0, 50, 0, 80, 10, 60, 90, 20, 70, 100], False),  # it may be noise
    ],
)
def test_growth_is_a_trend_of_the_second_half(series: list[float], grows: bool) -> None:
    found = memory.growth(series, 1000, tolerance=50)
    assert found is not None
    assert found["grows"] is grows


def test_what_the_system_does_not_tell_does_not_grow() -> None:
    assert memory.growth([None, None, None, None], 1000, tolerance=50) is None


def test_the_gate_holds_requests_and_lets_them_go(gate: memory.Gate) -> None:
    async def main() -> None:
        async with triopool.ConnectionPool() as pool, trio.open_nursery() as nursery:
            nursery.start_soon(pool.get, f"{gate.origin}/held")
            with trio.fail_after(20):
                while not gate.held():
                    await trio.sleep(0.01)
            gate.let_go()

    trio.run(main)
    assert gate.held() == 0


# ── A thousand proxies ─────────────────────────────────────────────────────────────────────────


def test_of_many_proxies_nothing_is_left_but_what_is_open() -> None:
    require_program("nginx")
    with serve(sizes=()) as server:
        found = proxies_in_turn.run(f"{server.http}/2000", server.proxy, laps=2, lap=150)
    for one in found["looks"]:
        assert one["open"] == 100
        # Other tests may have some, too.
        assert one["objects"]["Proxy"] - found["before"]["objects"]["Proxy"] <= 100
    assert found["after"]["descriptors"] == found["before"]["descriptors"]
    assert found["after"]["objects"] == found["before"]["objects"]
    assert "300 proxies" in proxies_in_turn.show(json.loads(json.dumps(found)))
