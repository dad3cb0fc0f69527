"""A URL into a file, going on where it broke off.

    request ──► 200: from the beginning ──┐
       ▲        206: from where we were ──┴──► write ──► all is here ──► the file gets its name
       │                                         │
       └── with Range and If-Range ◄── it broke off, and something new had come

The rest is asked for only by a strong validator (``_reading/ranges.py``): what comes then is the
rest of the same version, or all of another one. And the file has no name before all of it is here
(``_reading/saving.py``). A rest that is not the right one is left, and all is asked for once more.

As the reconnecting events, it stands on nothing but a function that is used like ``pool.stream()``.
A status such as 503, or a server that can't be reached, is not tried again here: that is a matter
of whoever provides that function.
"""

from __future__ import annotations

import os
from dataclasses import replace

from trio.lowlevel import enable_ki_protection

from .._config import check_bool
from .._errors import ReadError, ReadTimeout, RemoteProtocolError
from .._facts import Progress
from .._reading.ranges import is_the_rest, length_of, validator_of, whole_length
from .._reading.saving import NewFile, Remains, digest_of
from .._request import fields as _fields
from .._request.fields import Field
from .._request.options import RequestOptions
from .event_source import StreamFunction
from .response import Response

FRUITLESS_ATTEMPTS = 3
"""After how many attempts in a row that bring little the error is raised; the first one counts."""
LITTLE_BYTES = 64 * 1024
"""Less than this is little, beyond what any attempt before has brought the file to: a server that
begins anew each time, and breaks off at the same place, brings nothing. Both picked arbitrarily."""


class Download:
    """One download, from its first request to the file.

    Args:
      stream: sends its requests.
      resource: of what the file is a copy: an absolute URL and ``params``.
      url, path, resume, fsync: as ``pool.download()``.
      options: too, and fit for several requests: see ``repeatable()``.
    """

    def __init__(
        self,
        stream: StreamFunction,
        url: str,
        path: str | os.PathLike[str],
        *,
        resource: str,
        resume: bool,
        fsync: bool,
        options: RequestOptions,
    ) -> None:
        check_bool("resume", resume)
        check_bool("fsync", fsync)
        self._stream = stream
        self._url = url
        self._options = options
        self._on_progress = options.get("on_progress")
        self._resume = resume
        self._fsync = fsync
        # Who asks for another page of the same path asks for something else.
        self._resource = digest_of(resource)
        self._file = NewFile(path)
        self._validator: str | None = None
        # Where the present response begins in the file, and how long the file will be.
        self._start = 0
        self._whole: int | None = None

    @enable_ki_protection
    async def run(self) -> Response:
        """Do it; return the last response.

        Raises:
          BaseException: as ``pool.download()`` tells.
        """
        file = self._file
        try:
            if self._resume:
                remains = await file.open_remains(self._resource)
                self._validator = None if remains is None else remains.validator
            else:
                await file.open()
            response = await self._fetch()
            await file.finish(fsync=self._fsync)
            return response
        except BaseException:
            if self._resume and self._validator is not None and file.size:
                await file.keep(Remains(self._resource, self._validator))
            else:
                await file.discard()
            raise

    async def _fetch(self) -> Response:
        fruitless, farthest = 0, self._file.size
        while True:
            error: Exception
            try:
                async with self._stream("GET", self._url, **self._request_options()) as response:
                    if await self._begin(response) and await self._take(response):
                        return response
                error = _wrong(response, "another part of the file than the one that was asked for")
            except (ReadError, ReadTimeout) as exc:
                if self._validator is None:
                    raise  # Nothing to go on with.
                error = exc
            is_fruitless = self._file.size - farthest < LITTLE_BYTES
            fruitless = fruitless + 1 if is_fruitless else 0
            farthest = max(farthest, self._file.size)
            if fruitless == FRUITLESS_ATTEMPTS:
                raise error

    def _request_options(self) -> RequestOptions:
        """The caller's, and what asks for the rest if there is a beginning."""
        self._start = self._file.size
        given = _fields.read(self._options.get("headers") or ())
        # A part of an encoded body can't be decoded, and its ETag is that of the encoded one.
        fields: list[Field] = _fields.complete(given, {"Accept-Encoding": "identity"})
        options: RequestOptions = {**self._options, "headers": fields}
        if self._start and self._validator is not None:
            fields.append(("Range", f"bytes={self._start}-"))
            fields.append(("If-Range", self._validator.encode("latin-1")))
            limit = options.get("max_body_bytes")
            if limit is not None:
                options["max_body_bytes"] = max(0, limit - self._start)
        if self._on_progress is not None:
            options["on_progress"] = self._tell
        return options

    async def _begin(self, response: Response) -> bool:
        """Look at the head, make the file ready; whether the body is what has to be written."""
        headers = response.headers
        if not self._start or response.status_code not in (206, 416):
            response.raise_for_status()
            if response.status_code == 206 or not response.is_success:
                raise _wrong(response, f"{response.status_code}, which is no file")
            self._validator = self._validator_of(response)
            self._start, self._whole = 0, None
            if self._validator is not None:  # A rest has to end where this would have.
                self._whole = length_of(headers)
            await self._file.clear()
            return True
        assert self._validator is not None
        if (
            response.status_code == 206
            and not self._is_decoded(response)
            and is_the_rest(headers, self._start, self._validator)
        ):
            whole = whole_length(headers)
            if whole is None or self._whole in (None, whole):
                self._whole = self._whole if whole is None else whole
                return True
        # It is not the one of which we have the beginning, or there is no more of it.
        await self._begin_anew()
        return False

    async def _take(self, response: Response) -> bool:
        """Write the body; whether all of the file is here."""
        async for piece in response:
            await self._file.write(piece)
        if self._whole is None or self._file.size == self._whole:
            return True
        if self._file.size > self._whole:  # There is something in it that is not of the file.
            await self._begin_anew()
        return False

    async def _begin_anew(self) -> None:
        """What is in the file is of no use: the next attempt asks for all."""
        self._validator = None
        await self._file.clear()

    def _validator_of(self, response: Response) -> str | None:
        """By what the rest can be asked for; None if it can't be."""
        headers = response.headers
        accepts_none = headers.get("Accept-Ranges", "").strip().lower() == "none"
        return None if accepts_none or self._is_decoded(response) else validator_of(headers)

    def _is_decoded(self, response: Response) -> bool:
        return "Content-Encoding" in response.headers and self._options.get("decode", True)

    def _tell(self, now: Progress) -> None:
        """Tell of the file what is told of the present response."""
        to_receive = None if now.to_receive is None else now.to_receive + self._start
        assert self._on_progress is not None
        received = now.received + self._start
        self._on_progress(replace(now, received=received, to_receive=to_receive))


def _wrong(response: Response, what: str) -> RemoteProtocolError:
    origin = response.request.origin
    return RemoteProtocolError(f"{origin} sent {what}", origin=origin, phase="read")
