"""Control-C that falls into a task of the user's own, started by a resolver or a socket factory."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from triopool import ConnectError, ConnectionPool
from triopool.testing import Network


async def press_control_c() -> None:
    signal.raise_signal(signal.SIGINT)


async def fail() -> None:
    raise OSError("as well")


async def until_interrupted(pool: ConnectionPool) -> None:
    # Control-C comes in the tick in which the request fails, or in the next one.
    with contextlib.suppress(ConnectError, ExceptionGroup):
        await pool.get("http://two.test/")
    await trio.sleep_forever()


@pytest.mark.parametrize("others", [[], [fail]], ids=["alone", "among others"])
@pytest.mark.parametrize("where", ["resolver", "socket_factory"])
def test_control_c_in_a_task_of_the_users_own_ends_the_main_task_and_not_the_pools(
    where: str, others: list[Callable[[], Awaitable[None]]]
) -> None:
    pressed = False

    async def put_in(*arguments: object) -> Any:
        nonlocal pressed
        if pressed:
            raise OSError("once is enough")
        pressed = True
        async with trio.open_nursery() as nursery:  # Its tasks are not protected.
            for task in (press_control_c, *others):
                nursery.start_soon(task)

    async def main() -> None:
        async with Network() as network:
            network.host("two.test", "192.0.2.3", "192.0.2.4")
            seams: dict[str, Any] = {"resolver": network.resolve, "socket_factory": network.socket}
            async with ConnectionPool(**seams | {where: put_in}) as pool:
                with pytest.raises(KeyboardInterrupt):
                    await until_interrupted(pool)
                await trio.testing.wait_all_tasks_blocked()
                assert (pool.statistics().open, pool.statistics().dialling) == (0, 0)
                assert not network.open_sockets
                await trio.lowlevel.checkpoint()  # The pool's nursery has not been cancelled.

    trio.run(main)
