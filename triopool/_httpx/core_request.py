"""A request of httpcore, as the bridge reads one of the library: what it asks for, and no more."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any


class CoreRequest:
    """What comes back from the library's own transport, with the names that it had above.

    It is not made a request of the library again, which would normalise the URL once more: where
    a request goes must not depend on whether it was patched.

    Attributes:
      content: the body, if all of it is in memory.
    """

    def __init__(self, request: Any, library: ModuleType) -> None:
        host = request.url.host.decode("ascii")
        netloc = f"[{host}]" if ":" in host else host
        if request.url.port is not None:
            netloc += f":{request.url.port}"
        self.method = request.method.decode("ascii")
        self.url = SimpleNamespace(
            scheme=request.url.scheme.decode("ascii"),
            netloc=netloc.encode("ascii"),
            raw_host=request.url.host,
            raw_path=request.url.target,
        )
        self.headers = SimpleNamespace(raw=request.headers)
        self.extensions = request.extensions
        self.stream = request.stream
        self._library: Any = library

    @property
    def content(self) -> bytes:
        if isinstance(self.stream, self._library.ByteStream):
            return b"".join(self.stream)
        raise self._library.RequestNotRead
