"""What the pages of this room's admin share: who is there, states as signs, counts as words."""

from collections.abc import Iterable
from typing import cast

from django.contrib.auth.models import User
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from audit.plain_text import marked


def the_person(request: HttpRequest) -> User:
    """Who is signed in."""
    return cast("User", request.user)


def name_of(request: HttpRequest) -> str:
    """Who is signed in, as the ledger shows them."""
    return the_person(request).get_username()


def badge(look: str, sign: str, words: str) -> SafeString:
    """A state as sign and words."""
    return format_html(
        '<span class="badge {}"><span aria-hidden="true">{}</span> {}</span>', look, sign, words
    )


def in_code(words: Iterable[str]) -> SafeString:
    """Words of a program, or of strangers."""
    return format_html_join(" ", "<code>{}</code>", ((marked(word),) for word in words))


def tally(*counts: tuple[int, str]) -> str:
    """`2 revoked, 1 revoked already`."""
    return ", ".join(f"{count} {what}" for count, what in counts if count) or "nothing chosen"
