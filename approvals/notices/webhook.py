"""Webhooks by the Standard Webhooks specification: signed, dated, and named alike on every try."""

import json

from approvals.models import Channel, Notice
from approvals.notices.facts import facts_of
from approvals.notices.faults import Taken
from approvals.notices.posting import post
from approvals.notices.signing import PREFIX, headers, secrets_of, url_of
from approvals.notices.wording import webhook_body
from audit.models import local_now


def send(notice: Notice, channel: Channel) -> Taken:
    """Post it. Its id is the notice's own, so that a receiver knows what it has had already."""
    moment = local_now()
    body = json.dumps(webhook_body(facts_of(notice)))
    keys = secrets_of(channel, moment)
    hidden = (*keys, *(key.removeprefix(PREFIX) for key in keys))
    signed = headers(keys, str(notice.pk), moment, body)
    return post(url_of(channel), body.encode(), signed, hidden)
