"""Each test runs with httpx and with httpx2, and says so in its name."""

from __future__ import annotations

import ssl

import pytest

from .world import LIBRARIES, Contexts, Library


@pytest.fixture(params=LIBRARIES)
def lib(request: pytest.FixtureRequest) -> Library:
    return Library.of(request.param)


@pytest.fixture
def contexts(client_ssl_context: ssl.SSLContext, server_ssl_context: ssl.SSLContext) -> Contexts:
    return client_ssl_context, server_ssl_context
