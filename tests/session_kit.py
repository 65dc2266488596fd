"""What tests of sessions share."""

from typing import Any

from rest_framework.response import Response

from tests.conftest import Agent
from tools.models import Session


def ask_for(agent: Agent, body: Any = None) -> Response:
    """Ask for a session with this body."""
    answer: Response = agent.client.post("/api/v1/sessions", body, format="json")
    return answer


def open_one(agent: Agent, **config: Any) -> Session:
    """A session of the agent's, with these budgets."""
    answer = ask_for(agent, {"config": config})
    assert answer.status_code == 201, answer.content
    return now(answer.json()["session_id"])


def now(session_id: Any) -> Session:
    """The session as it stands."""
    return Session.objects.with_clock().get(pk=session_id)


def call(agent: Agent, session: Session, tool: str = "echo", /, **arguments: Any) -> Response:
    """Call a tool within the session."""
    return agent.post(tool, {"arguments": arguments, "session_id": str(session.pk)})


def close(agent: Agent, session: Session) -> Response:
    """Close it."""
    answer: Response = agent.client.delete(f"/api/v1/sessions/{session.pk}")
    return answer


def report_of(agent: Agent, session: Session, query: str = "") -> Any:
    """What it has done."""
    answer = agent.get(f"sessions/{session.pk}/provenance{query}")
    assert answer.status_code == 200, answer.content
    return answer.json()
