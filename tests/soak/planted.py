"""Does the soak find bugs? Plant some, one at a time, and see.

``python tests/soak/planted.py`` replaces a few lines in a copy of the package, lets the soak run on
it until something is found, and prints what, and in which cycle. It fails if a bug is not found,
and also if the code has moved on, so that the lines to be replaced are not there, or not just once.
With arguments, plants only the bugs whose names contain one of them.

Each of them was there once, or is one that somebody could make who mends something else. For those
of the slot engine: ``tests/planted_bugs.py``.
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

ROOT = Path(__file__).resolve().parent.parent.parent
CYCLES = 1500
"""How many cycles there are to find a bug in; the rarest needs some hundred."""


class Edit(NamedTuple):
    file: str
    old: str
    new: str


class Bug(NamedTuple):
    name: str
    edits: list[Edit]


BUGS = [
    Bug(
        "a request counts as sent when its last piece is framed",
        [
            Edit(
                "_protocol/connection.py",
                "            return self._write_now()\n        assert last",
                "            if last:\n"
                '                self._sent = "whole"\n'
                "            return self._write_now()\n        assert last",
            ),
            Edit(
                "_exchange/exchange.py",
                "        return not self._sender.is_under_way\n",
                "        return self.codec.sent_whole or not self._sender.is_under_way\n",
            ),
        ],
    ),
    Bug(
        "a response may be read twice at a time, and drained meanwhile",
        [
            Edit("_exchange/reader.py", "        if self._busy:\n", "        if False:\n"),
            Edit("_client/delivery.py", " and not self._reader.is_busy:\n", ":\n"),
        ],
    ),
    Bug(
        "no glance between the hand-over and the first write",
        [
            Edit(
                "_protocol/connection.py",
                "look_before_write = self._looks and not just_seen",
                "look_before_write = False",
            )
        ],
    ),
    Bug(
        "the keeper of timeouts takes a later clock than it woke by",
        [
            Edit(
                "_deadlines.py",
                "                await trio.lowlevel.checkpoint()\n"
                "                await self._end(due)\n",
                "                await self._end(trio.current_time())\n",
            )
        ],
    ),
    Bug(
        "bytes behind a response that came with it are not looked for",
        [
            Edit(
                "_protocol/h11_parser.py",
                "self._h11.trailing_data[0] or self.scanner.has_rest",
                "False",
            ),
            Edit(
                "_protocol/httptools_parser.py",
                "Spent.EARLY_BYTES if self.scanner.has_rest else None",
                "None",
            ),
        ],
    ),
    Bug(
        "a request is sent again whatever it is",
        [
            Edit(
                "_client/retry.py",
                "(exchange.nothing_sent or (request.may_be_repeated and "
                "sending.in_vain < MAX_RETRIES))",
                "True",
            )
        ],
    ),
    Bug(
        "what comes behind a proxy's answer is not looked for",
        [
            Edit(
                "_dial/asking.py",
                "        if read_too_much:\n            raise self._unasked()\n",
                "        if self is not None:\n            return\n",
            )
        ],
    ),
    Bug(
        "whatever a proxy answers to CONNECT opens a tunnel",
        [Edit("_dial/tunnel.py", "if answer.status_code >= 300:", "if False:")],
    ),
    Bug(
        "a proxy's answer is read by packets",
        [Edit("_dial/asking.py", "while len(data) < number:", "while not data:")],
    ),
    Bug(
        "a connection stays open when a step of its dial fails",
        [
            Edit(
                "_dial/hops.py",
                "        line.close()\n        raise\n",
                "        raise\n",
            )
        ],
    ),
    Bug(
        "a proxy's credentials go into the tunnel",
        [
            Edit(
                "_request/request.py",
                "        return lines if forwarder is None else",
                "        forwarder = self.key.proxy\n"
                "        return lines if forwarder is None else",
            )
        ],
    ),
    Bug(
        "the last proxy of a chain is dialled",
        [
            Edit(
                "_proxy/proxy.py",
                "(*(self.via.chain if self.via is not None else ()), self)",
                "(self,)",
            )
        ],
    ),
    Bug(
        "two proxies are one if their addresses are",
        [
            Edit(
                "_proxy/route.py",
                "    proxy.check_reaches(origin)\n",
                "    proxy.check_reaches(origin)\n    proxy = _SEEN.setdefault(proxy.url, proxy)\n",
            ),
            Edit(
                "_proxy/route.py",
                "from .proxy import Proxy\n",
                "from .proxy import Proxy\n\n_SEEN: dict[str, Proxy] = {}\n",
            ),
        ],
    ),
    Bug(
        "a session repeats what may not be repeated",
        [
            Edit(
                "_session/attempts.py",
                "request.may_be_repeated or isinstance(error, NOTHING_SENT)",
                "True",
            )
        ],
    ),
    Bug(
        "a session keeps the answer that it does not want",
        [
            Edit(
                "_session/sender.py",
                "            delivery.close()\n            await delivery.join()\n",
                "",
            )
        ],
    ),
    Bug(
        "a session sends a body again that it can't produce again",
        [
            Edit(
                "_session/attempts.py",
                "return sending.request.replayable or not sending.body_started",
                "return True",
            )
        ],
    ),
]


def plant(bug: Bug | None, copy: Path) -> None:
    """Copy the package and the soak to *copy*, with *bug*."""
    shutil.copytree(ROOT / "triopool", copy / "triopool")
    shutil.copytree(ROOT / "tests" / "soak", copy / "tests" / "soak")
    for name in ("strictness.py", "inside.py"):
        shutil.copy(ROOT / "tests" / name, copy / "tests")
    for edit in bug.edits if bug is not None else []:
        file = copy / "triopool" / edit.file
        text = file.read_text()
        if (times := text.count(edit.old)) != 1:
            raise LookupError(f"{bug and bug.name}: found {times} times:\n{edit.old}")
        file.write_text(text.replace(edit.old, edit.new))


def first_finding(bug: Bug | None, cycles: int = CYCLES) -> str | None:
    """In which cycle it shows, and how; None if it does not."""
    with tempfile.TemporaryDirectory(prefix="triopool-") as directory:
        copy = Path(directory)
        plant(bug, copy)
        run = subprocess.run(
            [sys.executable, "tests/soak/run.py", "--seed=1", f"--cycles={cycles}", "--stop"],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy)},
            capture_output=True,
            text=True,
        )
    if run.returncode == 0:
        return None
    found = re.search(r"^--cycle (\S+) +(.+)$", run.stdout, re.MULTILINE)
    if found is None:
        raise RuntimeError(run.stdout + run.stderr)
    return f"{found[1]}: {found[2][:90]}"


def main(words: list[str]) -> int:
    bugs = [bug for bug in BUGS if not words or any(word in bug.name for word in words)]
    if finding := first_finding(None, 100):
        print(f"without any bug planted, something is found, in cycle {finding}")
        return 1
    survivors = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for bug, finding in zip(bugs, pool.map(first_finding, bugs), strict=True):
            survivors += finding is None
            print(f"{bug.name:<64} → {finding or 'NOT FOUND'}", flush=True)
    print(f"{len(bugs) - survivors} of {len(bugs)} found")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
