"""The blocks that give a connection back: ``async with pool.stream(...)``, ``pool.lease(...)``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Generic, TypeVar

from trio.lowlevel import enable_ki_protection

from .. import _habits

T = TypeVar("T")


class Block(Generic[T]):
    """What ``stream()`` and ``lease()`` return. Nothing is taken or sent before it is entered.

    Args:
      name: what was called, for messages.
      take: takes what the block holds.
      show: makes of that what the caller gets. By itself, so that entering a block costs no
        coroutine more than taking.
      leave: gives back what was taken; the exception that ended the block is the second argument.
    """

    def __init__(
        self,
        name: str,
        take: Callable[[], Awaitable[Any]],
        show: Callable[[Any], T],
        leave: Callable[[Any, BaseException | None], Awaitable[None]],
    ) -> None:
        self._name = name
        self._take: Callable[[], Awaitable[Any]] | None = take
        self._show = show
        self._leave = leave
        self._taken: Any = None

    @enable_ki_protection
    async def __aenter__(self) -> T:
        take, self._take = self._take, None
        if take is None:
            raise RuntimeError(f"this block has been entered already: call {self._name} again")
        self._taken = await take()
        return self._show(self._taken)

    @enable_ki_protection
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._leave(self._taken, exc)

    def __repr__(self) -> str:
        return f"<the block of {self._name}: use it with 'async with'>"


_habits.answer(
    Block,
    "block of stream() or lease()",
    _habits.ON_A_BLOCK,
    **dict.fromkeys(("__enter__", "__exit__", "__await__"), _habits.A_BLOCK_IS_ENTERED),
)
