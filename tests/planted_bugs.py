"""Do the tests of the slot engine find bugs? Plant some, one at a time, and see.

``python tests/planted_bugs.py`` replaces a few lines of the engine in a copy of the package, runs
``tests/slots`` on it, and prints which test failed first. It fails if a bug is not found, and also
if the code has moved on, so that the lines to be replaced are not there, or not just once. With
arguments, plants only the bugs whose names contain one of them.

``python tests/planted_bugs.py --machine`` has only the state machine look for them.
"""

from __future__ import annotations

import sys

from planting import Bug, main

# The quick ones first.
ALL_TESTS = (
    "test_scenarios.py",
    "test_hand_over.py",
    "test_leases.py",
    "test_pool_timeouts.py",
    "test_sweep.py",
    "test_machine.py",
)

BUGS = [
    Bug(
        "idle connections without bound",
        "_slots/dispatcher.py",
        "            if len(books.idle.order) > self._max_idle:",
        "            if False:",
    ),
    Bug(
        "the newest idle connection closed where the oldest should be",
        "_slots/dispatcher.py",
        ("self._max_idle:\n                books.close(books.idle.oldest,"),
        ("self._max_idle:\n                books.close(slot,"),
    ),
    Bug(
        "a waiter parks later than it is enqueued",
        "_slots/engine.py",
        ("        try:\n            slot = await waiter.wait()\n"),
        (
            "        try:\n"
            "            await trio.lowlevel.checkpoint()\n"
            "            slot = await waiter.wait()\n"
        ),
    ),
    Bug(
        "an error closes the wrong clone",
        "_slots/waiter.py",
        ("            self._put_down = error\n            self._end.close()\n"),
        (
            "            self._put_down = error\n"
            "            next(iter(self.queue.waiting or self.queue.dialling), self)._end.close()\n"
        ),
    ),
    Bug(
        "a channel that takes what nobody waits for",
        "_slots/channel.py",
        "trio.open_memory_channel(0)",
        "trio.open_memory_channel(1)",
        also=(
            "_slots/waiter.py",
            ("        if task.custom_sleep_data is None:\n            return False\n"),
            "",
        ),
    ),
    Bug(
        "what goes to a waiter out of turn goes to the one parked longest",
        "_slots/waiter.py",
        "        if in_turn and self._in_turn:\n",
        "        if True:\n",
    ),
    Bug(
        "a fresh connection that passes by an older waiter goes to that one",
        "_slots/dispatcher.py",
        "        in_turn = made is None or waiter is self.books.origins.of(slot.share).oldest\n",
        "        in_turn = True\n",
    ),
    Bug(
        "a request that comes again is taken to have parked in turn",
        "_slots/channel.py",
        "        in_turn = age > self._youngest\n",
        "        in_turn = True\n",
    ),
    Bug(
        "two waiters have the same end of a channel",
        "_slots/channel.py",
        "        end = self._spare_ends.pop() if",
        "        end = self._spare_ends[-1] if",
    ),
    Bug(
        "spare ends of a channel are kept without bound",
        "_slots/channel.py",
        "        if len(self._spare_ends) < SPARE_ENDS:\n",
        "        if True:\n",
    ),
    Bug(
        "an error and the frame that raised it hold each other",
        "_slots/waiter.py",
        "            del result  # Else",
        "            pass  # Else",
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
        "            self._dispatcher.give_up(waiter)\n",
        (
            "            await trio.lowlevel.checkpoint()\n"
            "            self._dispatcher.give_up(waiter)\n"
        ),
    ),
    Bug(
        "a checkpoint on the reuse path",
        "_slots/engine.py",
        "            lease = self._reuse_newest(share, last)\n",
        (
            "            await trio.lowlevel.checkpoint()\n"
            "            lease = self._reuse_newest(share, last)\n"
        ),
    ),
    Bug(
        "a cancelled waiter is not removed",
        "_slots/dispatcher.py",
        (
            '        """Its task was cancelled while it waited."""\n'
            "        self.books.leave(waiter)\n"
        ),
        '        """Its task was cancelled while it waited."""\n',
    ),
    Bug(
        "a waiter that was cancelled a moment ago is taken for served",
        "_slots/waiter.py",
        ("        if task.custom_sleep_data is None:\n            return False\n"),
        ("        if task.custom_sleep_data is None:\n            return True\n"),
    ),
    Bug(
        "the pool's token is not released",
        "_slots/bounds.py",
        "        self._total.release_on_behalf_of(slot)\n",
        "",
    ),
    Bug(
        "the origin's token is not released",
        "_slots/bounds.py",
        "        slot.share.limiter.release_on_behalf_of(slot)\n",
        "",
    ),
    Bug(
        "a slot is freed but its connection not closed",
        "_slots/slot.py",
        "                self.connection.close()\n",
        "                pass\n",
    ),
    Bug(
        "no eviction before waiting",
        "_slots/dispatcher.py",
        "            elif books.idle:\n",
        "            elif False:\n",
    ),
    Bug(
        "no eviction on return",
        "_slots/dispatcher.py",
        "        if (books.origins.waiting and books.origins.next_in_line()) or books.bounds.",
        "        if books.bounds.",
        also=("_slots/dispatcher.py", ("    @operation\n    def give_back"), "    def give_back"),
    ),
    Bug(
        "the most recently used connection is evicted",
        "_slots/idle.py",
        "        return next(iter(self.order))\n",
        "        return next(reversed(self.order))\n",
    ),
    Bug(
        "the least recently used connection is reused",
        "_slots/idle.py",
        "        return next(reversed(share.idle))",
        "        return next(iter(share.idle))",
    ),
    Bug(
        "an idle connection that is taken stays in the global order",
        "_slots/idle.py",
        ("        del slot.share.idle[slot]\n        del self.order[slot]\n\n    def remove"),
        ("        del slot.share.idle[slot]\n\n    def remove"),
    ),
    Bug(
        "an idle connection is busy for a moment before it is closed",
        "_slots/books.py",
        "            self.idle.remove(slot)\n",
        "            self.idle.take(slot)\n",
    ),
    Bug(
        "a dial's error goes to the oldest waiter",
        "_slots/dispatcher.py",
        ("            self.books.origins.remove(owner)\n        if owner is not None:\n"),
        (
            "            owner.dial = None\n"
            "            owner = self.books.origins.of(slot.share).oldest or owner\n"
            "            self.books.origins.remove(owner)\n"
            "        if owner is not None:\n"
        ),
    ),
    Bug(
        "a dial's error is told to all who wait for its origin",
        "_slots/dispatcher.py",
        ("            self.books.origins.remove(owner)\n        if owner is not None:\n"),
        (
            "            self.books.origins.remove(owner)\n"
            "            for other in self.books.origins.of(slot.share).dialling:\n"
            "                other.fail(error or self.books.closed_error(slot.share.key))\n"
            "        if owner is not None:\n"
        ),
    ),
    Bug(
        "nobody is next when a waiter has gone",
        "_slots/dispatcher.py",
        ("    @operation\n    def give_up"),
        "    def give_up",
    ),
    Bug(
        "nobody is next when a waiter has timed out",
        "_slots/dispatcher.py",
        ("    @operation\n    def time_out"),
        "    def time_out",
    ),
    Bug(
        "nobody is next when a dial has failed",
        "_slots/dispatcher.py",
        ("    @operation\n    def dial_ended"),
        "    def dial_ended",
    ),
    Bug(
        "nobody is next when a connection is closed",
        "_slots/dispatcher.py",
        ("    @operation\n    def close"),
        "    def close",
    ),
    Bug(
        "no swap: a dial whose owner was served otherwise is orphaned",
        "_slots/dispatcher.py",
        ("            spare.pass_on(owner, dial)\n            owner.dial = spare\n"),
        "            self.books.dials.orphan(spare)\n",
    ),
    Bug(
        "a swap costs the owner its time",
        "_slots/dials.py",
        "        self.scope.deadline = lost.scope.deadline\n",
        "",
    ),
    Bug(
        "a newcomer is handed a connection before a waiter",
        "_slots/waiting.py",
        "        dialling, waiting = next(iter(self.dialling), None), ",
        "        return next(reversed(self.waiting or self.dialling), None)\n"
        "        dialling, waiting = next(iter(self.dialling), None), ",
    ),
    Bug(
        "a newcomer gets a dial before a waiter",
        "_slots/waiting.py",
        "waiter, _ = queue.waiting.popitem(last=False)",
        "waiter, _ = queue.waiting.popitem(last=True)",
    ),
    Bug(
        "a returned connection becomes idle although somebody waits",
        "_slots/dispatcher.py",
        "_who_can_swap(queue, *made) if made else queue.oldest)",
        "_who_can_swap(queue, *made) if made else None)",
    ),
    Bug(
        "age does not count across origins",
        "_slots/dispatcher.py",
        "        return rival is not None and rival.age < waiter.age\n",
        "        return False\n",
    ),
    Bug(
        "the line is not put right when its first waiter has gone",
        "_slots/waiting.py",
        "            elif waiter.age != age:",
        "            elif False:",
    ),
    Bug(
        "an origin that had no room does not get back in line",
        "_slots/books.py",
        "        self.origins.line.join(queue)  # The origin may have been full.\n",
        "",
    ),
    Bug(
        "an orphan never ends",
        "_slots/dials.py",
        "min(dial.scope.deadline, trio.current_time() + ORPHAN_GRACE)",
        "dial.scope.deadline",
    ),
    Bug(
        "an orphan does not give way",
        "_slots/dials.py",
        "                self.giving_way.scope.cancel()\n",
        "",
    ),
    Bug(
        "all orphans give way at once",
        "_slots/dials.py",
        "                self.giving_way = next(iter(orphans))\n",
        (
            "                for self.giving_way in orphans:\n"
            "                    self.giving_way.scope.cancel()\n"
        ),
    ),
    Bug(
        "an orphan gives way only once",
        "_slots/dials.py",
        ("        if self.giving_way is dial:\n            self.giving_way = None\n"),
        "",
    ),
    Bug(
        "a refusal is not looked at after settling",
        "_slots/search.py",
        (
            "                if self.kept is None:\n"
            "                    self._dispatcher.books.refuse_if_closed(self._key)\n"
        ),
        "",
    ),
    Bug(
        "a cancelled settle keeps the connection",
        "_slots/dispatcher.py",
        ("            self.close(slot, CloseReason.DISCARDED)\n            raise\n"),
        "            raise\n",
    ),
    Bug(
        "a settled connection is used although the pool was shut",
        "_slots/slot.py",
        "        return fit and self.state is State.BUSY",
        "        return fit",
    ),
    Bug(
        "the pool timeout goes on when a dial is had",
        "_slots/waiting.py",
        ("        self.waiting -= 1\n        waiter.stop_waiting()\n        _insert("),
        ("        self.waiting -= 1\n        _insert("),
    ),
    Bug(
        "the pool timeout is not kept",
        "_slots/waiter.py",
        "            self.begin_until(self.waits_since + self.timeouts.pool - self.waited)\n",
        "            pass\n",
    ),
    Bug(
        "a request that timed out stays in its queue until its task runs",
        "_slots/dispatcher.py",
        ("        self.books.leave(waiter)\n        waiter.fail(self._waited_too_long(waiter))\n"),
        "        waiter.fail(self._waited_too_long(waiter))\n",
    ),
    Bug(
        "the keeper of deadlines is too quick for what comes in the same step",
        "_deadlines.py",
        (
            "                await trio.lowlevel.checkpoint()\n"
            "                await trio.lowlevel.checkpoint()\n"
        ),
        "",
    ),
    Bug(
        "the keeper of deadlines takes a later clock than it woke by",
        "_deadlines.py",
        "                await self._end(due)\n",
        "                await self._end(trio.current_time())\n",
        also=(
            "_deadlines.py",
            (
                "                await trio.lowlevel.checkpoint()\n"
                "                await trio.lowlevel.checkpoint()\n"
            ),
            "                await trio.lowlevel.checkpoint()\n",
        ),
    ),
    Bug(
        "a request that comes again is the youngest",
        "_slots/engine.py",
        "            unfit, age, waited = last.take_slot(), last.age, last.waited\n",
        "            unfit, age, waited = last.take_slot(), next(self._ages), last.waited\n",
    ),
    Bug(
        "a request that comes again has all of its pool timeout",
        "_slots/engine.py",
        "            unfit, age, waited = last.take_slot(), last.age, last.waited\n",
        "            unfit, age, waited = last.take_slot(), last.age, 0.0\n",
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
        "first.age >= queue.place or",
        "queue.place < math.inf or",
    ),
    Bug(
        "an older request without a dial does not count among those with one",
        "_slots/waiting.py",
        "        if dialling is None or (waiting is not None and waiting.age < dialling.age):\n",
        "        if dialling is None:\n",
    ),
    Bug(
        "an owner who has lost its connection to an older request waits without a timeout",
        "_slots/dispatcher.py",
        "            owner.begin_pool_timeout()\n",
        "",
    ),
    Bug(
        "a request that looked at a stale connection gives its slot away",
        "_slots/search.py",
        ("            self._kept = slot\n            looks"),
        ("            self._dispatcher.close(slot, self._reason)\n            looks"),
    ),
    Bug(
        "a request that looked at a stale connection is refused",
        "_slots/engine.py",
        "            kept = search.kept\n",
        (
            "            kept = search.kept\n"
            "            self._dispatcher.refuse_if_too_many_wait(key)\n"
        ),
    ),
    Bug(
        "a request closes any number of stale connections in one step",
        "_slots/search.py",
        "            if looks % LOOKS_AT_ONCE == 0:\n",
        "            if False:\n",
    ),
    Bug(
        "an owner whose time is over swaps",
        "_slots/dispatcher.py",
        "    if dial.is_over or oldest is None:\n",
        "    if oldest is None:\n",
    ),
    Bug(
        "a dial whose time is over is inherited",
        "_slots/waiter.py",
        "        return self.dial is not None and self.dial.is_over\n",
        "        return False\n",
    ),
    Bug(
        "what the sweeper settles is not closed with the idle ones",
        "_slots/idle.py",
        "            unused.append(slot)\n",
        "            pass\n",
    ),
    Bug(
        "the instrument is told of a connection's end before its slot has gone on",
        "_slots/journal.py",
        "            self.news.append(partial(self._instrument.closed, info, reason))\n",
        "            self._instrument.closed(info, reason)\n",
    ),
    Bug(
        "the instrument is told of a failed dial while its slot is still taken",
        "_slots/journal.py",
        "            self.news.append(partial(self._instrument.dial_failed, origin, error))\n",
        "            self._instrument.dial_failed(origin, error)\n",
    ),
    Bug(
        "a drain counts its orphans each time",
        "_slots/books.py",
        "- len(self.idle) - self.dials.orphans\n",
        "- len(self.idle) - sum(len(one) for one in self.dials.orphaned.values())\n",
    ),
    Bug(
        "a connection that can't be closed keeps its slot",
        "_slots/slot.py",
        '                logger.exception("closing a connection failed;',
        ('                raise\n                logger.exception("closing a connection failed;'),
    ),
    Bug(
        "the sweeper ends when a glance fails",
        "_slots/slot.py",
        ("            return self.connection.condition()\n        except Exception:\n"),
        ("            return self.connection.condition()\n        except OSError:\n"),
    ),
    Bug(
        "an earlier deadline does not wake its keeper",
        "_deadlines.py",
        "            self._asleep.deadline = when\n",
        "            pass\n",
    ),
    Bug(
        "requests that were served stay with the keeper of deadlines",
        "_slots/waiter.py",
        "        self.forget()\n",
        "        self.end()\n",
    ),
    Bug(
        "the keeper of deadlines does not drop its dead",
        "_deadlines.py",
        "        if self._dead > DEAD_AT_MOST and self._dead > len(self._heap) / 2:\n",
        "        if False:\n",
    ),
    Bug(
        "the keeper of deadlines ends when the pool's own block is cancelled",
        "_deadlines.py",
        "trio.CancelScope(shield=True)",
        "trio.CancelScope()",
    ),
    Bug(
        "an idle connection does not wake the sweeper",
        "_slots/idle.py",
        "            self.on_first()\n",
        "            pass\n",
    ),
    Bug(
        "nobody gives way because no slot is free",
        "_slots/dispatcher.py",
        "        while books.has_slot or books.dials.orphaned:\n",
        "        while books.has_slot:\n",
    ),
    Bug(
        "max_waiting is not enforced",
        "_slots/dispatcher.py",
        ("        if waiting < self._max_waiting:\n            return\n"),
        "        return\n",
    ),
    Bug(
        "a request that was cancelled a moment ago keeps its turn for a slot",
        "_slots/waiting.py",
        "            if not waiter.dead:\n",
        "            if True:\n",
    ),
    Bug(
        "a retired connection is kept when it comes back",
        "_slots/dispatcher.py",
        "        if slot.retired:\n",
        "        if False:\n",
    ),
    Bug(
        "a spent connection is kept when it comes back",
        "_slots/lease.py",
        "        if self.connection.spent is None:\n",
        "        if True:\n",
    ),
    Bug(
        "a connection's lifetime does not count while it is passed on",
        "_slots/dispatcher.py",
        "elif now >= slot.expires_at or",
        "elif",
    ),
    Bug(
        "a lowered bound is not enforced when connections come back",
        "_slots/dispatcher.py",
        "        elif self.books.bounds.exceeded:",
        "        elif False:",
    ),
    Bug(
        "a raised bound serves nobody",
        "_slots/engine.py",
        ("    @max_connections.setter\n    @enable_ki_protection\n    @operation\n"),
        ("    @max_connections.setter\n    @enable_ki_protection\n"),
    ),
    Bug(
        "the dials of a cancelled warm-up have no end",
        "_slots/engine.py",
        ("        for dial in warm_up.dials:\n            self.books.dials.orphan(dial)\n"),
        "        pass\n",
    ),
    Bug(
        "a shut pool forgets to tell its waiters",
        "_slots/engine.py",
        "                waiter.fail(books.closed_error(queue.share.key))\n",
        "",
    ),
    Bug(
        "a drain does not notice that it is quiet",
        "_slots/dispatcher.py",
        (
            "        if self._quiet is not None and self.books.is_quiet:\n"
            "            self._quiet.set()\n"
            "        if"
        ),
        "        if",
    ),
    Bug(
        "origins are never forgotten",
        "_slots/waiting.py",
        "            del self.by_key[queue.share.key]\n",
        "",
    ),
    Bug(
        "the line is never swept",
        "_slots/waiting.py",
        "            self.line.sweep()\n",
        "            pass\n",
    ),
    Bug(
        "a lease can be ended twice",
        "_slots/lease.py",
        (
            "reuse. If it is spent, it is closed, for *reason*.\n"
            '        """\n'
            "        dispatcher, self._dispatcher = self._dispatcher, None\n"
        ),
        (
            "reuse. If it is spent, it is closed, for *reason*.\n"
            '        """\n'
            "        dispatcher = self._dispatcher\n"
        ),
    ),
    Bug(
        "the peer's idle limit is not looked at",
        "_slots/idle.py",
        "        if limit is None or limit > self._idle_timeout:",
        "        if True:",
    ),
    Bug(
        "being settled counts as being used",
        "_slots/idle.py",
        "                order.move_to_end(slot)\n",
        "                pass\n",
    ),
]


if __name__ == "__main__":
    names = ("test_machine.py",) if "--machine" in sys.argv else ALL_TESTS
    tests = ["--hypothesis-profile=unshrunk", *(f"tests/slots/{name}" for name in names)]
    words = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    sys.exit(main(BUGS, tests, words))
