"""Python, as a reader would start it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import trio

# A guard against what hangs, and no measure of speed: each takes a second or three.
PATIENCE = 120.0


async def run_python(*arguments: str, cwd: Path, **more: str) -> tuple[int, str]:
    """Run Python with warnings as errors; return its exit status, and all it printed.

    Args:
      arguments: those of its command line.
      cwd: the folder to run it in.
      more: variables for its environment.
    """
    with trio.fail_after(PATIENCE):
        done = await trio.run_process(
            [sys.executable, "-W", "error", *arguments],
            cwd=cwd,
            env={**os.environ, "PYTHONUTF8": "1", "COLUMNS": "100", "NO_COLOR": "1", **more},
            check=False,
            capture_stdout=True,
            capture_stderr=True,
        )
    return done.returncode, (done.stdout + done.stderr).decode()
