"""What a token says, once it is believed: each claim of the right form, or not taken at all."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from tools.identity import BadCredentials

SCOPE_CLAIMS = ("scope", "scopes", "scp")
"""RFC 9068's and what others say instead; all of them together are the token's scopes."""
LONGEST_NAME = 200
LONGEST_SUBJECT = 255
"""OpenID Connect's own bound."""
LAST_MOMENT = 253_402_214_400
"""The last day of the year 9999. Beyond lie milliseconds taken for seconds, and "for ever"."""

KIND_CLAIMS = ("token_type", "token_use", "token_usage", "typ")
OTHER_KINDS = {"refresh", "refresh_token", "offline", "id", "id_token", "logout", "dpop"}
"""What providers also sign, or call active, though nobody is let in by it."""
LOGOUT_CLAIM = "events"


@dataclass(frozen=True, slots=True)
class Service:
    """A service that an issuer vouches for, as one token has it."""

    issuer: str
    subject: str
    actor: str
    """What it is called here: one subject may act under several names."""
    scopes: tuple[str, ...]
    good_until: datetime | None


@dataclass(frozen=True, slots=True)
class Claims:
    """What an issuer says in a good token, and until when (`exp`, and a little longer)."""

    issuer: str
    values: Mapping[str, object]
    expires_at: float | None
    leeway: float

    def name(self, claim: str, longest: int = LONGEST_NAME) -> str:
        """A name that can be shown and stored as it is; BadCredentials if the claim is none."""
        value = self.values.get(claim)
        if not isinstance(value, str) or not is_name(value, longest):
            raise incomplete(claim)
        return value

    def scopes(self) -> tuple[str, ...]:
        """All scopes, each once. One that is no word spoils the token: what does it mean?"""
        found = [word for claim in SCOPE_CLAIMS for word in _words(self.values, claim)]
        return tuple(dict.fromkeys(found))

    def service(self, actor_claim: str) -> Service:
        """The service that the claim names; BadCredentials if it names none."""
        actor = self.name(actor_claim)
        is_named = self.values.get("sub") is not None
        subject = self.name("sub", LONGEST_SUBJECT) if is_named else actor
        return Service(self.issuer, subject, actor, self.scopes(), self.good_until)

    @property
    def good_until(self) -> datetime | None:
        """When it is over even for whoever's clock is late; None if it did not say."""
        if self.expires_at is None:
            return None
        return datetime.fromtimestamp(self.expires_at + self.leeway, timezone.utc)


def is_for_access(values: Mapping[str, object]) -> bool:
    """Whether these are not the claims of a token that says it is for something else."""
    kinds = [values.get(claim) for claim in KIND_CLAIMS]
    others = any(isinstance(kind, str) and kind.casefold() in OTHER_KINDS for kind in kinds)
    return not others and LOGOUT_CLAIM not in values


def moment(values: Mapping[str, object], claim: str) -> float | None:
    """A time as RFC 7519 writes it, None if there is none; BadCredentials if it is no time."""
    value = values.get(claim)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > LAST_MOMENT:
        raise incomplete(claim)
    return float(value)


def is_name(text: str, longest: int) -> bool:
    """Whether it is printable, not blank at either end, and not too long."""
    return 0 < len(text) <= longest and text.isprintable() and text == text.strip()


def incomplete(claim: str) -> BadCredentials:
    """The token lacks the claim, or has it in a form that is not its own."""
    fault = f"the token's claim {claim} is missing or has the wrong form"
    return BadCredentials("token_incomplete", fault=fault)


def _words(values: Mapping[str, object], claim: str) -> list[str]:
    match values.get(claim):
        case None:
            return []
        case str() as text:
            words: list[object] = list(text.split())
        case list() as words:
            pass
        case _:
            raise incomplete(claim)
    return [_word(word, claim) for word in words]


def _word(word: object, claim: str) -> str:
    if not isinstance(word, str) or not word.isprintable() or [word] != word.split():
        raise incomplete(claim)
    return word
