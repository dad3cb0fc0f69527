"""What the tests of the parsers need: both of them."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def both_parsers(request: pytest.FixtureRequest) -> None:
    """Skips the test where httptools is not installed, or is not to be used."""
    # Not before now: the option has to have been seen.
    from .reading import PARSERS

    if "httptools" not in PARSERS:
        if os.environ.get("CI") and request.config.getoption("--http-parser") == "auto":
            pytest.fail("httptools is not installed")
        pytest.skip("needs httptools")
