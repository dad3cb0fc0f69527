"""Do the tests of the slot engine find bugs? Plant some, one at a time, and see.

``python tests/planted_bugs.py`` replaces a few lines of the engine in a copy of the package, runs
``tests/slots`` on it, and prints which test failed first. It fails if a bug is not found, and also
if the code has moved on, so that the lines to be replaced are not there, or not just once. With
arguments, plants only the bugs whose names contain one of them.

``python tests/planted_bugs.py --machine`` has only the state machine look for them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 180
"""How long one run may take, in seconds. A planted bug may well make the tests hang."""

# The quick ones first.
ALL_TESTS = ("test_scenarios.py", "test_pool_timeouts.py", "test_sweep.py", "test_machine.py")


class Bug(NamedTuple):
    """What to replace by what; *also* is a second pair, where one alone does no harm."""

    name: str
    file: str
    old: str
    new: str
    also: tuple[str, str] | None = None


BUGS = [
    Bug(
        "idle connections without bound",
        "_slots/engine.py",
        "            if len(self._idle) > self._max_idle:",
        "            if False:",
    ),
    Bug(
        "the newest idle connection closed where the oldest should be",
        "_slots/engine.py",
        """            if len(self._idle) > self._max_idle:
                self._close(next(iter(self._idle)), CloseReason.EVICTED)""",
        """            if len(self._idle) > self._max_idle:
                self._close(slot, CloseReason.EVICTED)""",
    ),
    Bug(
        "a channel that takes what nobody waits for",
        "_slots/channel.py",
        "            raise trio.WouldBlock\n",
        "            return\n",
    ),
    Bug(
        "a checkpoint between the hand-over and the lease",
        "_slots/engine.py",
        "        # No checkpoint from the hand-over to here: a connection once given is not lost.",
        "        await trio.lowlevel.checkpoint()",
    ),
    Bug(
        "a checkpoint before a waiter that gives up leaves its queue",
        "_slots/engine.py",
        "            # Cancelled, or given an error; if the latter it has left already.\n",
        "            await trio.lowlevel.checkpoint()\n",
    ),
    Bug(
        "a checkpoint on the reuse path",
        "_slots/engine.py",
        "            slot = next(reversed(queue.idle))\n",
        "            slot = next(reversed(queue.idle))\n"
        "            await trio.lowlevel.checkpoint()\n",
    ),
    Bug(
        "a cancelled waiter is not removed",
        "_slots/engine.py",
        "            self._leave(waiter)\n            self._dispatch()\n            raise\n",
        "            self._dispatch()\n            raise\n",
    ),
    Bug(
        "a waiter that was cancelled a moment ago is taken for served",
        "_slots/waiting.py",
        "        except trio.WouldBlock:\n            return False\n",
        "        except trio.WouldBlock:\n            return True\n",
    ),
    Bug(
        "the pool's token is not released",
        "_slots/engine.py",
        "        self._total.release_on_behalf_of(slot)\n",
        "",
    ),
    Bug(
        "the origin's token is not released",
        "_slots/engine.py",
        "        queue.limiter.release_on_behalf_of(slot)\n",
        "",
    ),
    Bug(
        "a slot is freed but its connection not closed",
        "_slots/engine.py",
        "            slot.connection.close()\n",
        "            pass\n",
    ),
    Bug(
        "no eviction before waiting",
        "_slots/engine.py",
        "            elif self._idle:\n",
        "            elif False:\n",
    ),
    Bug(
        "no eviction on return",
        "_slots/engine.py",
        "        if self._next_in_line() is not None or self._is_above_its_bound():",
        "        if self._is_above_its_bound():",
        also=(
            "            self._offer(slot)\n        self._dispatch()\n\n    @",
            "            self._offer(slot)\n\n    @",
        ),
    ),
    Bug(
        "the most recently used connection is evicted",
        "_slots/engine.py",
        "            elif self._idle:\n                self._close(next(iter(self._idle)),",
        "            elif self._idle:\n                self._close(next(reversed(self._idle)),",
    ),
    Bug(
        "the least recently used connection is reused",
        "_slots/engine.py",
        "            slot = next(reversed(queue.idle))",
        "            slot = next(iter(queue.idle))",
    ),
    Bug(
        "an idle connection that is taken stays in the global order",
        "_slots/engine.py",
        "        del self._idle[slot]\n",
        "",
    ),
    Bug(
        "a dial's error goes to the oldest waiter",
        "_slots/engine.py",
        "        elif owner is not None:\n            self._remove(owner)\n",
        "        elif owner is not None:\n"
        "            owner = slot.queue.oldest\n"
        "            self._remove(owner)\n",
    ),
    Bug(
        "a dial's error is told to all who wait for its origin",
        "_slots/engine.py",
        "            self._remove(owner)\n            owner.give(outcome.Error(error))\n",
        "            for owner in (*slot.queue.dialling, *slot.queue.waiting):\n"
        "                self._leave(owner)\n"
        "                owner.give(outcome.Error(error))\n",
    ),
    Bug(
        "nobody is next when a waiter has gone, or has timed out",
        "_slots/engine.py",
        "            self._leave(waiter)\n            self._dispatch()\n            raise\n",
        "            self._leave(waiter)\n            raise\n",
    ),
    Bug(
        "nobody is next when a dial has failed",
        "_slots/engine.py",
        "            owner.give(outcome.Error(error))\n"
        "        self._free(slot)\n"
        "        self._dispatch()\n",
        "            owner.give(outcome.Error(error))\n        self._free(slot)\n",
    ),
    Bug(
        "no swap: a dial whose owner was served otherwise is orphaned",
        "_slots/engine.py",
        "            dial.owner, owner.dial = owner, dial\n"
        "            dial.connect_timeout = owner.timeouts.connect\n"
        "            dial.scope.deadline = slot.scope.deadline\n",
        "            self._orphan(dial)\n",
    ),
    Bug(
        "a swap costs the owner its time",
        "_slots/engine.py",
        "            dial.scope.deadline = slot.scope.deadline\n",
        "",
    ),
    Bug(
        "a newcomer is handed a connection before a waiter",
        "_slots/waiting.py",
        "        dialling, waiting = next(iter(self.dialling), None), self.oldest_waiting\n",
        "        return next(reversed(self.waiting or self.dialling), None)\n",
    ),
    Bug(
        "a newcomer gets a dial before a waiter",
        "_slots/engine.py",
        "waiter, _ = queue.waiting.popitem(last=False)",
        "waiter, _ = queue.waiting.popitem(last=True)",
    ),
    Bug(
        "a returned connection becomes idle although somebody waits",
        "_slots/engine.py",
        "        while (waiter := self._whose_turn(slot, owner)) is not None:",
        "        while owner and (waiter := self._whose_turn(slot, owner)) is not None:",
    ),
    Bug(
        "age does not count across origins",
        "_slots/engine.py",
        "            if rival.age > waiter.age:",
        "            if True:",
    ),
    Bug(
        "the line is not put right when its first waiter has gone",
        "_slots/waiting.py",
        "            elif waiter.age != age:",
        "            elif False:",
    ),
    Bug(
        "an origin that had no room does not get back in line",
        "_slots/engine.py",
        "        queue.limiter.release_on_behalf_of(slot)\n        self._line.join(queue)\n",
        "        queue.limiter.release_on_behalf_of(slot)\n",
    ),
    Bug(
        "an orphan never ends",
        "_slots/engine.py",
        "min(slot.scope.deadline, trio.current_time() + ORPHAN_GRACE)",
        "slot.scope.deadline",
    ),
    Bug(
        "an orphan does not give way",
        "_slots/engine.py",
        "                    self._giving_way.scope.cancel()\n",
        "",
    ),
    Bug(
        "all orphans give way at once",
        "_slots/engine.py",
        "                    self._giving_way = next(iter(other.orphans))\n",
        "                    for self._giving_way in other.orphans:\n"
        "                        self._giving_way.scope.cancel()\n",
    ),
    Bug(
        "an orphan gives way only once",
        "_slots/engine.py",
        "        if self._giving_way is slot:\n            self._giving_way = None\n",
        "",
    ),
    Bug(
        "a refusal is not looked at after settling",
        "_slots/engine.py",
        "        if unfit is None or unfit.state is State.CLOSED:\n",
        "        if False:\n",
    ),
    Bug(
        "a cancelled settle keeps the connection",
        "_slots/engine.py",
        "        except BaseException:\n            self.close(slot, CloseReason.DISCARDED)\n",
        "        except BaseException:\n",
    ),
    Bug(
        "a settled connection is used although the pool was shut",
        "_slots/engine.py",
        "        return fit and slot.state is State.BUSY",
        "        return fit",
    ),
    Bug(
        "the pool timeout goes on when a dial is had",
        "_slots/engine.py",
        "                self._waits_no_more(waiter)\n",
        "                self._waiting -= 1\n",
    ),
    Bug(
        "the pool timeout is not kept",
        "_slots/engine.py",
        "            self._pool_timeouts.look_at(waiter, waiter.ends_at)\n",
        "            pass\n",
    ),
    Bug(
        "a request that timed out stays in its queue until its task runs",
        "_slots/engine.py",
        "        self._leave(waiter)\n        # Its task lets",
        "        # Its task lets",
    ),
    Bug(
        "the keeper of pool timeouts is too quick for what comes in the same step",
        "_deadlines.py",
        "                await trio.lowlevel.checkpoint()\n"
        "                await trio.lowlevel.checkpoint()\n",
        "",
    ),
    Bug(
        "the keeper of pool timeouts takes a later clock than it woke by",
        "_deadlines.py",
        "                await self._end(due)\n",
        "                await self._end(trio.current_time())\n",
        also=(
            "                await trio.lowlevel.checkpoint()\n"
            "                await trio.lowlevel.checkpoint()\n",
            "                await trio.lowlevel.checkpoint()\n",
        ),
    ),
    Bug(
        "a request that comes again is the youngest",
        "_slots/engine.py",
        "unfit, age, waited = last.take_slot(), last.age, last.waited",
        "unfit, age, waited = last.take_slot(), next(self._ages), last.waited",
    ),
    Bug(
        "a request that comes again has all of its pool timeout",
        "_slots/engine.py",
        "unfit, age, waited = last.take_slot(), last.age, last.waited",
        "unfit, age, waited = last.take_slot(), last.age, 0.0",
    ),
    Bug(
        "a request that comes again is put at the end of its queue",
        "_slots/waiting.py",
        "    if youngest is not None and youngest.age > waiter.age:\n",
        "    if False:\n",
    ),
    Bug(
        "a request that comes again goes before those that are older",
        "_slots/waiting.py",
        "for one in (waiter, *reversed(older)):",
        "for one in (waiter,):",
    ),
    Bug(
        "an origin keeps its place in line though an older request has come again",
        "_slots/waiting.py",
        "first.age < queue.place and",
        "queue.place == math.inf and",
    ),
    Bug(
        "an older request without a dial does not count among those with one",
        "_slots/waiting.py",
        "        if dialling is None or (waiting is not None and waiting.age < dialling.age):\n",
        "        if dialling is None:\n",
    ),
    Bug(
        "an owner who has lost its connection to an older request waits without a timeout",
        "_slots/engine.py",
        "                self._begin_pool_timeout(owner)\n",
        "",
    ),
    Bug(
        "a request that looked at a stale connection gives its slot away",
        "_slots/engine.py",
        "                unfit = slot\n",
        "                self.close(slot, why)\n",
    ),
    Bug(
        "a request that looked at a stale connection is refused",
        "_slots/engine.py",
        "        if last is None and unfit is None:\n",
        "        if last is None:\n",
    ),
    Bug(
        "a request closes any number of stale connections in one step",
        "_slots/engine.py",
        "                if looks % LOOKS_AT_ONCE == 0:\n",
        "                if False:\n",
    ),
    Bug(
        "an owner whose time is over swaps",
        "_slots/engine.py",
        "        if owner is not None and _is_over(slot):\n",
        "        if False:\n",
    ),
    Bug(
        "a dial whose time is over is inherited",
        "_slots/engine.py",
        "    if dial is None:\n        return False\n",
        "    return False\n",
    ),
    Bug(
        "what the sweeper settles is not closed with the idle ones",
        "_slots/engine.py",
        "            unused.append(slot)\n",
        "            pass\n",
    ),
    Bug(
        "the instrument is told of a connection's end before its slot has gone on",
        "_slots/engine.py",
        "            self._news.append(partial(self._tell.closed, slot.connection.info, reason))\n",
        "            self._tell.closed(slot.connection.info, reason)\n",
    ),
    Bug(
        "the instrument is told of a failed dial while its slot is still taken",
        "_slots/engine.py",
        "            self._news.append(partial(self._tell.dial_failed, "
        "slot.queue.key.origin, error))\n",
        "            self._tell.dial_failed(slot.queue.key.origin, error)\n",
    ),
    Bug(
        "a drain counts its orphans each time",
        "_slots/engine.py",
        "        unused = len(self._idle) + self._orphans\n",
        "        unused = len(self._idle) + sum(len(queue.orphans) for queue in self._orphaned)\n",
    ),
    Bug(
        "a connection that can't be closed keeps its slot",
        "_slots/engine.py",
        '            logger.exception("closing a connection failed;',
        '            raise\n            logger.exception("closing a connection failed;',
    ),
    Bug(
        "the sweeper ends when a glance fails",
        "_slots/engine.py",
        "            return slot.connection.condition()\n        except Exception:\n",
        "            return slot.connection.condition()\n        except OSError:\n",
    ),
    Bug(
        "an earlier pool timeout does not wake its keeper",
        "_deadlines.py",
        "            self._asleep.deadline = when\n",
        "            pass\n",
    ),
    Bug(
        "requests that were served stay with the keeper of pool timeouts",
        "_slots/engine.py",
        "        self._pool_timeouts.forget(waiter)\n",
        "        waiter.ends_at = math.inf\n",
    ),
    Bug(
        "the keeper of pool timeouts does not bury its dead",
        "_deadlines.py",
        "        if self._dead > DEAD_AT_MOST and self._dead > len(self._heap) / 2:\n",
        "        if False:\n",
    ),
    Bug(
        "the keeper of pool timeouts ends when the pool's own block is cancelled",
        "_deadlines.py",
        "trio.CancelScope(shield=True)",
        "trio.CancelScope()",
    ),
    Bug(
        "an idle connection does not wake the sweeper",
        "_slots/engine.py",
        "            self._anything_idle.set()\n",
        "            pass\n",
    ),
    Bug(
        "nobody gives way because no slot is free",
        "_slots/engine.py",
        "bool(self._idle or self._orphaned or self._total",
        "bool(self._idle or self._total",
    ),
    Bug(
        "max_waiting is not enforced",
        "_slots/engine.py",
        "            self._refuse_if_too_many_wait(waiter.queue)\n",
        "            pass\n",
    ),
    Bug(
        "a request that was cancelled a moment ago keeps its turn for a slot",
        "_slots/engine.py",
        "            if not waiter.dead:\n",
        "            if True:\n",
    ),
    Bug(
        "a retired connection is kept when it comes back",
        "_slots/engine.py",
        "        if slot.retired:\n",
        "        if False:\n",
    ),
    Bug(
        "a connection's lifetime does not count while it is passed on",
        "_slots/engine.py",
        "elif now >= slot.expires_at or",
        "elif",
    ),
    Bug(
        "a lowered bound is not enforced when connections come back",
        "_slots/engine.py",
        "        elif self._is_above_its_bound():",
        "        elif False:",
    ),
    Bug(
        "a raised bound serves nobody",
        "_slots/engine.py",
        "(next(iter(self._idle)), CloseReason.EVICTED)\n        self._dispatch()\n",
        "(next(iter(self._idle)), CloseReason.EVICTED)\n",
    ),
    Bug(
        "the dials of a cancelled warm-up have no end",
        "_slots/engine.py",
        "            for slot in party.dials:\n                self._orphan(slot)\n",
        "",
    ),
    Bug(
        "a shut pool forgets to tell its waiters",
        "_slots/engine.py",
        "                waiter.give(outcome.Error(self._closed_error(queue.key)))\n",
        "",
    ),
    Bug(
        "a drain does not notice that it is quiet",
        "_slots/engine.py",
        "        if self._quiet is not None and self._is_quiet():",
        "        if False:",
    ),
    Bug(
        "origins are never forgotten",
        "_slots/engine.py",
        "            del self._origins[queue.key]\n",
        "",
    ),
    Bug(
        "the line is never swept",
        "_slots/engine.py",
        "            self._line.sweep()\n",
        "            pass\n",
    ),
    Bug(
        "a lease can be ended twice",
        "_slots/slot.py",
        'both sides."""\n        engine, self._engine = self._engine, None\n',
        'both sides."""\n        engine = self._engine\n',
    ),
    Bug(
        "the peer's idle limit is not looked at",
        "_slots/engine.py",
        "            if limit is None or limit > self._idle_timeout:",
        "            if True:",
    ),
    Bug(
        "being settled counts as being used",
        "_slots/engine.py",
        "                order.move_to_end(slot)\n",
        "                pass\n",
    ),
]


def plant(bug: Bug | None, copy: Path) -> None:
    """Copy the package and its slot tests to *copy*, with *bug*."""
    shutil.copytree(ROOT / "triopool", copy / "triopool")
    shutil.copytree(ROOT / "tests" / "slots", copy / "tests" / "slots")
    shutil.copy(ROOT / "tests" / "sweeping.py", copy / "tests")
    shutil.copy(ROOT / "pyproject.toml", copy)
    if bug is not None:
        file = copy / "triopool" / bug.file
        text = file.read_text()
        for old, new in filter(None, [(bug.old, bug.new), bug.also]):
            if text.count(old) != 1:
                raise LookupError(f"{bug.name}: found {text.count(old)} times:\n{old}")
            text = text.replace(old, new)
        file.write_text(text)


def first_failure(bug: Bug | None, tests: tuple[str, ...]) -> str | None:
    """The name of the first test that fails; None if all pass."""
    with tempfile.TemporaryDirectory(prefix="triopool-") as directory:
        copy = Path(directory)
        plant(bug, copy)
        paths = [f"tests/slots/{name}" for name in tests]
        options = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-profile=unshrunk"]
        command = [sys.executable, "-m", "pytest", *options, *paths]
        environment = {**os.environ, "PYTHONPATH": str(copy)}
        try:
            run = subprocess.run(
                command, cwd=copy, env=environment, capture_output=True, text=True, timeout=PATIENCE
            )
        except subprocess.TimeoutExpired:
            return "(the tests do not end)"
    if run.returncode == 0:
        return None
    found = re.search(r"^(?:FAILED|ERROR) \S*?(\w+\.py\S*)", run.stdout, re.MULTILINE)
    if found is None:
        raise RuntimeError(run.stdout + run.stderr)
    return found[1]


def main(arguments: list[str]) -> int:
    tests = ("test_machine.py",) if "--machine" in arguments else ALL_TESTS
    words = [argument for argument in arguments if not argument.startswith("--")]
    bugs = [bug for bug in BUGS if not words or any(word in bug.name for word in words)]
    if failure := first_failure(None, tests):
        print(f"without any bug planted, {failure} fails")
        return 1
    survivors = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        failures = pool.map(lambda bug: first_failure(bug, tests), bugs)
        for bug, failure in zip(bugs, failures, strict=True):
            survivors += failure is None
            print(f"{bug.name:<68} → {failure or 'NOT FOUND'}", flush=True)
    print(f"{len(bugs) - survivors} of {len(bugs)} found")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
