"""Opaque tokens: the provider is asked whether one is active (RFC 7662), and what it stands for.

Answers are remembered for a minute at most, so a revoked token may work for that long; refusals for
ten seconds. A token is known by its SHA-256 alone. If the provider does not answer, or not as it
should, the token is neither good nor bad, and nobody is let in.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from urllib.parse import quote_plus

from requests.auth import HTTPBasicAuth

from tools.identity import BadCredentials
from tools.tokens import fetching
from tools.tokens.checking import checked
from tools.tokens.claims import Service, is_for_access
from tools.tokens.errors import IssuerUnavailable
from tools.tokens.issuers import Issuer

log = logging.getLogger(__name__)

MOST_REMEMBERED = 10_000
SECONDS_GOOD = 60.0
SECONDS_WITHOUT_END = 30.0
"""For a token whose provider does not say when it is over."""
SECONDS_BAD = 10.0


@dataclass(frozen=True, slots=True)
class _Verdict:
    """A service, or why not; and the moment (monotonic) until which that counts."""

    until: float
    service: Service | None = None
    code: str = ""
    fault: str = ""


@dataclass(slots=True)
class _Memory:
    """Verdicts by the digests of their tokens; the oldest make room."""

    verdicts: dict[bytes, _Verdict] = field(default_factory=dict)

    def find(self, name: bytes) -> _Verdict | None:
        found = self.verdicts.get(name)
        return found if found and time.monotonic() < found.until else None

    def keep(self, name: bytes, verdict: _Verdict) -> None:
        self.verdicts.pop(name, None)
        self.verdicts[name] = verdict
        while len(self.verdicts) > MOST_REMEMBERED:
            del self.verdicts[next(iter(self.verdicts))]


class Introspection:
    """One provider's endpoint, what is expected of its answers, and those that it gave lately."""

    def __init__(self, url: str, client_id: str, client_secret: str, issuer: Issuer) -> None:
        self.url, self.issuer = url, issuer
        # RFC 6749, 2.3.1: both are form-encoded before HTTP's own encoding.
        self._auth = HTTPBasicAuth(quote_plus(client_id), quote_plus(client_secret))
        self._good, self._bad = _Memory(), _Memory()
        self._asking: dict[bytes, Future[_Verdict]] = {}
        self._lock = threading.Lock()

    def service_of(self, text: str) -> Service:
        """Whom the token stands for; BadCredentials if it is not active, or not for us.

        IssuerUnavailable if the provider can't tell now.
        """
        verdict = self._verdict(text)
        if verdict.service is None:
            raise BadCredentials(verdict.code, fault=verdict.fault)
        return verdict.service

    def _verdict(self, text: str) -> _Verdict:
        name = hashlib.sha256(text.encode(errors="replace")).digest()
        with self._lock:
            known = self._known(name)
        if known is not None:
            return known
        with fetching.place():
            return self._new_verdict(name, text)

    def _known(self, name: bytes) -> _Verdict | None:
        return self._good.find(name) or self._bad.find(name)

    def _new_verdict(self, name: bytes, text: str) -> _Verdict:
        """That of one request, however many come with the same token at once."""
        mine: Future[_Verdict] = Future()
        with self._lock:
            if known := self._known(name):
                return known
            asked = self._asking.setdefault(name, mine)
        if asked is not mine:
            return _awaited(asked)
        try:
            verdict = self._ask(text)
            self._remember(name, verdict)
            mine.set_result(verdict)
        except BaseException as error:
            mine.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._asking[name]
        return verdict

    def _remember(self, name: bytes, verdict: _Verdict) -> None:
        with self._lock:
            (self._good if verdict.service else self._bad).keep(name, verdict)

    def _ask(self, text: str) -> _Verdict:
        try:
            return self._judged(self._answer(text))
        except BadCredentials as bad:
            return _Verdict(time.monotonic() + SECONDS_BAD, code=bad.code, fault=bad.fault)
        except IssuerUnavailable as error:
            log.warning("%s does not introspect: %s", self.url, error)
            raise

    def _answer(self, text: str) -> Mapping[str, object]:
        form = {"token": text, "token_type_hint": "access_token"}
        answer = fetching.post_form(self.url, self._auth, form)
        if not isinstance(answer.get("active"), bool):
            raise IssuerUnavailable("it does not say whether the token is active")
        return answer

    def _judged(self, answer: Mapping[str, object]) -> _Verdict:
        if answer["active"] is not True or not is_for_access(answer):
            raise BadCredentials("token_inactive")
        claims = checked(answer, self.issuer)
        service = claims.service(self.issuer.actor_claim)
        return _Verdict(time.monotonic() + _seconds_good(claims.expires_at), service)


def _seconds_good(expires_at: float | None) -> float:
    if expires_at is None:
        return SECONDS_WITHOUT_END
    return min(SECONDS_GOOD, expires_at - time.time())


def _awaited(asked: "Future[_Verdict]") -> _Verdict:
    try:
        return asked.result(fetching.SECONDS + 1)
    except TimeoutError:
        raise IssuerUnavailable("its answer takes too long") from None
