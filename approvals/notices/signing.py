"""A channel's URL and the keys that sign for it: kept sealed, shown once, by Standard Webhooks."""

import base64
import secrets
from datetime import datetime, timedelta

from standardwebhooks import Webhook
from urllib3.exceptions import HTTPError
from urllib3.util import parse_url

from approvals import vault
from approvals.models import Channel

PREFIX = "whsec_"
BYTES = 32
OVERLAP = timedelta(hours=24)
"""How long after a rotation the old key signs beside the new one."""


def new_secret() -> str:
    """A key for a receiver to verify with."""
    return PREFIX + base64.b64encode(secrets.token_bytes(BYTES)).decode()


def url_of(channel: Channel) -> str:
    """Where it goes; empty for mail."""
    return "" if channel.url_sealed is None else str(vault.unseal(channel.url_sealed))


def shown_url(channel: Channel) -> str:
    """Its scheme and host, which are no secret."""
    try:
        read = parse_url(url_of(channel))
    except HTTPError:
        return ""
    return f"{read.scheme}://{read.netloc}/" if read.netloc else ""


def give_secret(channel: Channel, moment: datetime) -> str:
    """A new key in the channel's row, not yet saved; the one before signs on for a day."""
    secret, before = new_secret(), secrets_of(channel, moment)[:1]
    until = (moment + OVERLAP).isoformat() if before else None
    channel.secret_sealed = vault.seal({"now": secret, "before": before, "until": until})
    return secret


def secrets_of(channel: Channel, moment: datetime) -> list[str]:
    """The keys that sign now, newest first."""
    if channel.secret_sealed is None:
        return []
    kept = vault.unseal(channel.secret_sealed)
    is_over = kept["until"] is None or moment >= datetime.fromisoformat(kept["until"])
    return [kept["now"], *([] if is_over else kept["before"])]


def headers(keys: list[str], message_id: str, moment: datetime, body: str) -> dict[str, str]:
    """The three headers by which a receiver knows what comes from us, when, and whether again."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(Webhook(key).sign(message_id, moment, body) for key in keys),
    }
