"""A clear word to those who run triopool under something else than Trio."""

from __future__ import annotations

import sys

import trio


def check_trio() -> trio.lowlevel.TrioToken:
    """Which Trio run this is.

    Raises:
      RuntimeError: it is none.
    """
    try:
        return trio.lowlevel.current_trio_token()
    except RuntimeError:
        pass
    where = "not in a Trio task (in another thread?)"
    if _asyncio_runs():
        where = "under asyncio: run the program with trio.run(), or anyio.run(..., backend='trio')"
    raise RuntimeError(f"triopool is for Trio, and was called {where}")


def _asyncio_runs() -> bool:
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
