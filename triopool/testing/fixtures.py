"""Fixtures for pytest. Nothing else of ``triopool.testing`` needs pytest, or imports it.

In a ``conftest.py``::

    pytest_plugins = ["triopool.testing.fixtures"]

A plugin that every run of pytest would load by itself, wherever triopool is installed, would give
its fixtures to projects that have never asked for them.

They are for pytest-trio, which cancels a test whose fixture fails. anyio's plugin can't: there a
server that raises would leave the test hanging, so write ``async with Network()`` in the test.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ._network import Network

__all__ = ["network"]


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    """A :class:`triopool.testing.Network`, entered; see there.

    Ask for pytest-trio's ``autojump_clock`` beside it, and the time that things take is exact::

        async def test_a_shop_that_is_slow(network, autojump_clock):
            network.serve("http://shop.test", Reply(json={"price": 3}, delay=5))
            async with network.pool() as pool:
                assert await cheapest(pool, ["http://shop.test"], patience=1) is None

    At the end of the test the servers are cancelled, and what one of them has raised fails it.
    """
    async with Network() as network:
        yield network
