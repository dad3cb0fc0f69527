"""Each test runs with httpx and with httpx2, and says so in its name."""

from __future__ import annotations

import ssl

import pytest

from .world import LIBRARIES, Contexts, Library


@pytest.fixture(params=LIBRARIES)
def lib(request: pytest.FixtureRequest) -> Library:
    return Library.of(request.param)


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment says nothing of proxies, whatever it says to the test run."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "request_method"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def contexts(client_ssl_context: ssl.SSLContext, server_ssl_context: ssl.SSLContext) -> Contexts:
    return client_ssl_context, server_ssl_context
