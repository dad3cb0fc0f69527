"""How many files and sockets a process may have open at once."""

from __future__ import annotations

import sys

if sys.platform == "win32":

    def raise_limit() -> int:
        """Windows has no limit of this kind that would be in our way."""
        return 1_000_000

else:
    import resource

    def raise_limit() -> int:
        """Allow this process, and those that it starts, as many as the system lets it; tell it."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        # macOS says "unlimited" and means this.
        limit = 10_240 if hard == resource.RLIM_INFINITY else hard
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        return limit
