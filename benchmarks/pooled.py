"""What the clients that have a pool share here: they are opened late, and all callers are one."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from .clients import Options


class Pooled:
    """A client within. Made when it is opened and not sooner: some want a loop that runs."""

    _inner: Any

    def __init__(self, options: Options) -> None:
        self._options = options

    def _make(self, options: Options) -> Any:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        self._inner = self._make(self._options)
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._inner.__aexit__(kind, exc, traceback)

    async def caller(self, origin: str) -> Self:
        return self
