"""Chats that read Slack's incoming form.

A message there can't be changed: what became of a call is a message of its own, with the same link.
"""

import json

from approvals.models import Channel, Notice
from approvals.notices.facts import facts_of
from approvals.notices.faults import Taken
from approvals.notices.posting import post
from approvals.notices.signing import url_of
from approvals.notices.wording import chat_body


def send(notice: Notice, channel: Channel) -> Taken:
    """Say it in the chat."""
    return post(url_of(channel), json.dumps(chat_body(facts_of(notice))).encode(), {})
