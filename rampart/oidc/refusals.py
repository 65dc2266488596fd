"""Why somebody who comes from the provider is not let in: a reason for the ledger, a sentence."""

from django.contrib.auth.models import User

REASONS: dict[str, tuple[int, str]] = {
    "bad_state": (400, "This sign-in was not begun in this browser, or too long ago. Begin again."),
    "access_denied": (403, "The provider was told not to let you in."),
    "provider_refused": (403, "The provider could not carry out the sign-in."),
    "provider_unavailable": (502, "The provider does not answer as it should. Try again later."),
    "code_refused": (403, "The provider does not know this sign-in any more. Begin again."),
    "wrong_nonce": (403, "The provider's word belongs to another sign-in."),
    "wrong_issuer": (403, "The word of who you are comes from another provider."),
    "wrong_audience": (403, "The provider's word is meant for another application."),
    "wrong_subject": (403, "The provider says two different things about who you are."),
    "bad_signature": (403, "The provider's word can't be verified."),
    "token_expired": (403, "The provider's word is too old; the clocks may differ."),
    "token_not_yet_valid": (403, "The provider's word is not valid yet; the clocks may differ."),
    "bad_token": (403, "The provider's word can't be read."),
    "unknown_person": (403, "You have no account here. Ask an operator to link one to you."),
    "person_disabled": (403, "Your account here is disabled."),
    "no_group": (403, "You are in none of the groups that may come in."),
    "not_staff": (403, "You have an account here, but may not come in yet. Ask an operator."),
    "busy": (503, "Too many came at once. Try again."),
    "another_person": (403, "Somebody else signed in at the provider than is signed in here."),
    "not_proved_now": (403, "The provider does not say that you have proved yourself just now."),
}
"""Each reason with the status and the sentence of the page."""


class Refused(Exception):
    """Somebody is not let in; `reason` is one of REASONS.

    `subject` is whom the provider named, `fault` what an operator would want to know.
    """

    def __init__(
        self, reason: str, *, person: User | None = None, subject: str = "", fault: str = ""
    ) -> None:
        super().__init__(reason)
        self.reason, self.person = reason, person
        self.status, self.sentence = REASONS[reason]
        said = {"subject": subject, "fault": fault}
        self.told = {name: text for name, text in said.items() if text}
