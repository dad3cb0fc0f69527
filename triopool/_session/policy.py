"""What a session adds to its requests, and how that goes together with what a request has itself.

What goes before what: a request's own option, that of its session, of the session from which that
was derived, the pool's. Fields and parameters are put together by name, each name from the first of
these that has it.

What a session has for the origin of its base stays there, as it does when a redirect leads away:
credentials, cookies and a Host of the caller's own, a TLS context, and the parameters. So an
absolute URL that comes from a response, say, takes no token to somebody else.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, cast

from .._body.form import encode_pairs
from .._client.redirect import OF_THE_ORIGIN
from .._config import (
    check_bool,
    check_count,
    check_redirects,
    check_ssl_context,
    check_timeouts,
    described,
)
from .._errors import InvalidURL
from .._proxy.choice import check_proxy
from .._request import fields as _fields
from .._request.auth import check_auth
from .._request.fields import Field
from .._request.options import RequestOptions
from .._request.prepare import refuse_proxy_authorization
from .._request.url import URL
from . import base_url as _base
from .cookies import Cookies
from .options import HeadersToMerge, SessionOptions, SessionRequestOptions, check_names
from .retry import Retry

Pairs: TypeAlias = tuple[tuple[str, Any], ...]

_CREDENTIALS = frozenset({"authorization"})
_OF_THE_BODY = frozenset({"content-type"})


@dataclass(frozen=True, slots=True, repr=False)  # Nobody is shown a secret field.
class Policy:
    """What the requests of one session have in common. Checked, and never changed.

    Attributes:
      base: what relative URLs are joined to; None if there is nothing.
      confined: whether that is a bound.
      fields: header fields.
      params: parameters of the query.
      options: others, by the names of a request's options.
      retry: when to send again; None for not at all.
      cookies: the jar; None for none.
    """

    base: URL | None = None
    confined: bool = False
    fields: tuple[Field, ...] = ()
    params: Pairs = ()
    options: RequestOptions = field(default_factory=RequestOptions)
    retry: Retry | None = None
    cookies: Cookies | None = None

    # ── Another policy ─────────────────────────────────────────────────────────────────────────

    def derive(self, given: SessionOptions) -> Policy:
        """The policy of a session that is made from one with this policy.

        Raises:
          TypeError, ValueError, InvalidURL: an option is wrong.
          ImportError: ``cookies=True`` needs a library that is not installed.
        """
        check_names(given)
        base, auth = self._derived_base(given)
        confined = self._derived_bound(given, base)
        kept = (
            self if base is None or self._is_home(base) else self._without_what_is_for_the_origin()
        )
        removed, own_fields = split(given.get("headers"))
        names = _fields.names_of(own_fields)
        refuse_proxy_authorization(names)
        _fields.as_sent(own_fields)
        options = kept._derived_options(given, auth, names, removed)
        if options.get("auth") is not None or "auth" in given:
            removed |= _CREDENTIALS
        retry = given.get("retry", self.retry)
        if retry is not None and not isinstance(retry, Retry):
            raise TypeError(f"retry must be a triopool.Retry or None, not {described(retry)}")
        return Policy(
            base=base,
            confined=confined,
            fields=(*_fields.without(kept.fields, frozenset(removed | names)), *own_fields),
            params=_put_over(kept.params, given.get("params")),
            options=options,
            retry=retry,
            cookies=self._derived_cookies(given),
        )

    def _derived_base(self, given: SessionOptions) -> tuple[URL | None, object]:
        """The base, and the credentials that stood in it."""
        reference = given.get("base_url")
        if reference is None:
            return self.base, None
        if not isinstance(reference, str):
            raise TypeError(f"base_url must be a str or None, not {type(reference).__name__}")
        base = _base.resolve(self.base, reference)
        return base._replace(auth=None), base.auth

    def _derived_bound(self, given: SessionOptions, base: URL | None) -> bool:
        confined = given.get("confined", self.confined)
        check_bool("confined", confined)
        if self.confined and not confined:
            raise ValueError(
                "confined=False: what is derived from a confined session is confined as well"
            )
        if not confined:
            return False
        if base is None:
            raise ValueError("confined=True needs a base_url, which is the bound")
        if self.confined:
            self.check_inside(base)
        _base.check_bound(base)
        return True

    def _derived_options(
        self, given: SessionOptions, auth_of_base: object, names: set[str], removed: set[str]
    ) -> RequestOptions:
        options = dict(self.options)
        if auth_of_base is not None:
            options["auth"] = auth_of_base
        if "authorization" in names | removed:
            if "authorization" in names and given.get("auth") is not None:
                raise ValueError("give either auth= or an Authorization header, not both")
            options.pop("auth", None)
        for name, check in _CHECKS.items():
            if name in given:
                options[name] = check(cast("Mapping[str, Any]", given)[name])
        return cast("RequestOptions", options)

    def _derived_cookies(self, given: SessionOptions) -> Cookies | None:
        cookies = given.get("cookies", self.cookies is not None)
        if isinstance(cookies, Cookies):
            return cookies
        if cookies is not None and not isinstance(cookies, bool):
            raise TypeError(f"cookies must be a bool or triopool.Cookies, not {described(cookies)}")
        if not cookies:
            return None
        return Cookies() if self.cookies is None else self.cookies.fresh()

    def _without_what_is_for_the_origin(self) -> Policy:
        options = cast("RequestOptions", {**self.options})
        options.pop("auth", None)
        options.pop("ssl_context", None)
        fields = tuple(_fields.without(self.fields, OF_THE_ORIGIN))
        return replace(self, fields=fields, params=(), options=options)

    def _is_home(self, url: URL) -> bool:
        """Whether a URL leads to the origin for which the session has what it has."""
        return self.base is None or url.origin == self.base.origin

    # ── A request ──────────────────────────────────────────────────────────────────────────────

    def resolve(self, url: str) -> URL | None:
        """Where a request's URL leads; None if it can stay as it is: absolute, without credentials.

        Raises:
          InvalidURL: it can't be used, or leads out of the bound.
          TypeError: it is no str.
        """
        if self.base is None and "@" not in str(url):
            return None
        resolved = _base.resolve(self.base, url)
        self.check_inside(resolved)
        return resolved

    def check_inside(self, url: URL) -> None:
        """See that a URL does not lead out of the bound, if there is one.

        Raises:
          InvalidURL: it does.
        """
        if self.leads_out(url):
            assert self.base is not None
            raise InvalidURL(
                f"the URL leads out of the base_url at {self.base.origin}, to which this session "
                "is confined",
                origin=url.origin,
            )

    def leads_out(self, url: URL) -> bool:
        """Whether a URL leads out of the bound, if there is one."""
        return self.confined and self.base is not None and _base.leads_out(self.base, url)

    def apply(
        self, url: str, given: SessionRequestOptions | RequestOptions
    ) -> tuple[str, RequestOptions]:
        """The URL and the options with which to prepare a request of the session.

        Raises:
          InvalidURL, TypeError, ValueError: as :meth:`resolve`; or something is wrong with what is
            to be put together. All else is checked when the request is prepared.
        """
        resolved = self.resolve(url)
        if self.confined and given.get("target") is not None:
            raise ValueError("target= would lead out of the base_url to which this is confined")
        policy = self
        if resolved is not None and not self._is_home(resolved):
            policy = self._without_what_is_for_the_origin()
        text = url if resolved is None else _base.as_text(resolved)
        options = policy._put_under(given, None if resolved is None else resolved.auth)
        if "ssl_context" in options and "ssl_context" not in given and not _is_secure(text):
            del options["ssl_context"]
        return text, options

    def ssl_context_for(self, url: str, resolved: URL | None) -> ssl.SSLContext | None:
        """The session's TLS context, if it is for a URL, which may have been resolved."""
        is_home = resolved is None or self._is_home(resolved)
        return self.options.get("ssl_context") if is_home and _is_secure(url) else None

    def _put_under(
        self, given: SessionRequestOptions | RequestOptions, auth_of_url: object
    ) -> RequestOptions:
        removed, own_fields = split(given.get("headers"))
        names = _fields.names_of(own_fields)
        options: dict[str, Any] = {**self.options}
        if auth_of_url is not None:
            options["auth"] = auth_of_url
        if "authorization" in names | removed:
            options.pop("auth", None)
        options |= given
        if options.get("auth") is not None or "auth" in given:
            removed |= _CREDENTIALS
        if given.get("multipart") is not None:
            removed |= _OF_THE_BODY  # It makes its own.
        fields = [*_fields.without(self.fields, frozenset(removed | names)), *own_fields]
        options["headers"] = fields or None
        options["params"] = _put_over(self.params, given.get("params")) or None
        return cast(
            "RequestOptions",
            {name: value for name, value in options.items() if name not in _MERGED or value},
        )


def _is_secure(url: str) -> bool:
    return str(url)[:6].lower() == "https:"


_MERGED = frozenset({"headers", "params"})


def split(headers: HeadersToMerge | None) -> tuple[set[str], list[Field]]:
    """The names, in lower case, of the fields whose value is None; and the others.

    Raises:
      TypeError: it is no mapping and no iterable of pairs.
    """
    if headers is None:
        return set(), []
    items: Any = headers.items() if isinstance(headers, Mapping) else headers
    if not isinstance(items, Iterable):
        return set(), _fields.read(items)  # It says what is wrong.
    removed, kept = set(), []
    for item in items:
        match item:
            case (str() | bytes() as name, None):
                removed.add(_fields.lower(name))
            case _:
                kept.append(item)
    return removed, _fields.read(kept)


def _put_over(below: Pairs, given: Any) -> Pairs:
    """Parameters, and those with which they are replaced by name."""
    if given is None:
        return below
    if isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping):
        given = list(given)  # It may be one that can be read only once.
    encode_pairs(given, "params")  # It says what is wrong.
    items: Any = given.items() if isinstance(given, Mapping) else given
    over: Pairs = tuple(items)
    names = {name for name, _ in over}
    return (*(pair for pair in below if pair[0] not in names), *over)


# ── One option each ────────────────────────────────────────────────────────────────────────────


def _redirects(value: object) -> object:
    return check_redirects(value) or False


def _decode(value: object) -> object:
    check_bool("decode", value)
    return value


_CHECKS: Mapping[str, Callable[[Any], object]] = {
    "auth": check_auth,
    "timeouts": lambda value: None if value is None else check_timeouts(value),
    "ssl_context": check_ssl_context,
    "proxy": lambda value: None if value is None else check_proxy("proxy", value),
    "follow_redirects": _redirects,
    "decode": _decode,
    "max_body_bytes": lambda value: check_count("max_body_bytes", value, least=0),
}
"""Options that a request has by the same name, and the function that checks each."""
