"""Downloads and uploads by size, plain and with TLS, one at a time, on a connection that is open.

Neither is kept in memory: a download is read piece by piece and counted, an upload is produced in
pieces of 64 KiB, with its length told beforehand. The server answers an upload with the number of
bytes that it has read.
"""

from __future__ import annotations

from .answers import SIZES, check_upload
from .clients import Caller
from .experiment import Bench, Clock, Experiment, Point, Values


async def _download(caller: Caller, origin: str, size: int) -> None:
    received = await caller.download(f"{origin}/bytes/{size}")
    if received != size:
        raise ValueError(f"{received} bytes came instead of {size}")


async def _upload(caller: Caller, origin: str, size: int) -> None:
    check_upload(await caller.upload(f"{origin}/upload", size), size)


async def _measure(bench: Bench, point: Point) -> Values:
    transfer = _download if point["way"] == "download" else _upload
    origin = bench.server.https if point["over"] == "TLS" else bench.server.http
    size = int(point["size"])
    async with bench.open(1) as client:
        caller = await client.caller(origin)
        await transfer(caller, origin, size)
        clock = Clock()
        await transfer(caller, origin, size)
        times = max(2, min(round(bench.seconds / clock.seconds()), 1000))
        clock = Clock()
        for _ in range(times):
            await transfer(caller, origin, size)
        return clock.each(times)


def _points(sizes: tuple[int, ...]) -> list[Point]:
    return [
        {"way": way, "over": over, "size": size}
        for way in ("download", "upload")
        for over in ("TCP", "TLS")
        for size in sizes
    ]


TRANSFER = Experiment(
    name="transfer",
    title="Downloads and uploads by size",
    measure=_measure,
    grows="size",
    points=_points(SIZES),
    quick=_points((50_000_000,)),
)
