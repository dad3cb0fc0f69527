"""Plants bugs in a copy of the package, one at a time, and says which test finds each.

What the lists of bugs have in common: ``tests/planted_bugs.py`` has those of the slot engine,
``tests/proxies/planted.py`` those of proxies. A list fails if one of its bugs is not found, and
also if the code has moved on, so that the lines to be replaced are not there, or not just once.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 300
"""How long one run may take, in seconds. A planted bug may well make the tests hang."""


class Bug(NamedTuple):
    """What to replace by what; *also* is a second file and pair, where one alone does no harm."""

    name: str
    file: str
    old: str
    new: str
    also: tuple[str, str, str] | None = None

    @property
    def edits(self) -> list[tuple[str, str, str]]:
        """Each as a file of the package, what is there, and what is to be there."""
        first = self.file, self.old, self.new
        return [first] if self.also is None else [first, self.also]


def main(bugs: Sequence[Bug], tests: Sequence[str], words: Sequence[str]) -> int:
    """Plant *bugs*, and print which of the *tests* found each; return the program's exit status.

    Args:
      tests: pytest's arguments; paths are those of the repository.
      words: if there are any, only bugs are planted whose names contain one of them.
    """
    chosen = [bug for bug in bugs if not words or any(word in bug.name for word in words)]
    for bug in chosen:
        check_place(bug)
    if failure := first_failure(None, tests):
        print(f"without any bug planted, {failure} fails")
        return 1
    width = max((len(bug.name) for bug in chosen), default=0)
    survivors = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        failures = pool.map(lambda bug: first_failure(bug, tests), chosen)
        for bug, failure in zip(chosen, failures, strict=True):
            survivors += failure is None
            print(f"{bug.name:<{width}} → {failure or 'NOT FOUND'}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} found")
    return 1 if survivors else 0


def check_place(bug: Bug) -> None:
    """See that what a bug replaces is there, and only once.

    Raises:
      LookupError: it is not.
    """
    for path, old, _ in bug.edits:
        if (times := (ROOT / "triopool" / path).read_text().count(old)) != 1:
            raise LookupError(f"{bug.name}: found {times} times in {path}:\n{old}")


def first_failure(bug: Bug | None, tests: Sequence[str]) -> str | None:
    """The name of the first test that fails with *bug*, or with none; None if all pass."""
    with tempfile.TemporaryDirectory(prefix="triopool-") as directory:
        copy = Path(directory)
        plant(bug, copy)
        try:
            run = subprocess.run(
                [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests],
                cwd=copy,
                env={**os.environ, "PYTHONPATH": str(copy)},
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
        except subprocess.TimeoutExpired:
            return "(the tests do not end)"
    if run.returncode == 0:
        return None
    found = re.search(r"^(?:FAILED|ERROR) \S*?(\w+\.py\S*)", run.stdout, re.MULTILINE)
    if found is None:
        raise RuntimeError(run.stdout + run.stderr)
    return found[1]


def plant(bug: Bug | None, copy: Path) -> None:
    """Copy the package and its tests to *copy*, with *bug*."""
    ignored = shutil.ignore_patterns("__pycache__")
    for folder in ("triopool", "tests"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", copy)
    for path, old, new in [] if bug is None else bug.edits:
        file = copy / "triopool" / path
        file.write_text(file.read_text().replace(old, new))
