"""ToolRampart's six example modules, as published, served by us after their import line changed.

Their text is taken from their source archive when the tests run; nothing of it is kept here.
"""

import hashlib
from pathlib import Path

import pytest
import requests

from tests.peers.conftest import (
    GitHub,
    MakeUser,
    Moved,
    TheirClient,
    User,
    decide,
    reviewer_of,
    users_of,
)
from tests.processes import Deployment

pytestmark = [pytest.mark.stack, pytest.mark.feature("TD2")]


@pytest.fixture(scope="module")
def make_user(their_client: TheirClient, moved: Moved) -> MakeUser:
    """Makes users of their client, of the deployment with the examples."""
    return users_of(their_client, moved.stack)


@pytest.fixture(scope="module")
def user(make_user: MakeUser) -> User:
    """A user whose key may do everything."""
    return make_user()


@pytest.fixture(scope="module")
def person(moved: Moved) -> requests.Session:
    """A person who may decide."""
    return reviewer_of(moved.stack)


def test_all_six_are_served_with_what_their_decorators_say(moved: Moved, user: User) -> None:
    assert len(moved.examples) == 6
    policies = {tool["name"]: tool["policies"] for tool in user.get("tools")}
    assert {name: said["scope"] for name, said in policies.items()}.items() >= {
        "create_github_issue": "github.issue.create",
        "delete_account": "admin.account.delete",
        "rebuild_search_index": "jobs.run",
        "refund_user": "billing.refund",
        "run_read_only_query": "database.read",
        "update_contact": "crm.contact.update",
    }.items()
    limits = {name: said["rate_limit"] for name, said in policies.items()}
    assert (
        limits.items()
        >= {
            "create_github_issue": "30/hour/user",
            "refund_user": "10/hour/user",
            "run_read_only_query": "60/hour/user",
            "update_contact": "20/hour/user",
        }.items()
    )
    job = policies["rebuild_search_index"]
    assert (job["execution_mode"], job["timeout_seconds"]) == ("subprocess", 10)


def test_the_refund_runs_up_to_its_bound_and_is_held_above(
    moved: Moved, user: User, person: requests.Session
) -> None:
    small = {"user_id": "u_1", "amount": 500, "reason": "duplicate"}
    large = {**small, "amount": 500.01}
    assert user.invoke("refund_user", small)["data"] == {
        "status": "refund_started", "user_id": "u_1", "amount": 500, "reason": "duplicate",
    }  # fmt: skip
    held = user.invoke("refund_user", large, idempotency_key="refund-u_1-001")
    assert (held["status"], held["message"]) == ("requires_approval", "amount exceeds 500")
    decide(moved.stack, person, held["approval_id"])
    ran = user.invoke(
        "refund_user", large, approval_id=held["approval_id"], idempotency_key="refund-u_1-001"
    )
    assert (ran["status"], ran["data"]["amount"]) == ("success", 500.01)


def test_the_refund_is_limited_for_each_actor(make_user: MakeUser) -> None:
    busy, call = make_user(), {"user_id": "u_1", "amount": 9999, "reason": "flood"}
    statuses = [busy.invoke("refund_user", call)["status"] for _ in range(11)]
    assert statuses == ["requires_approval"] * 10 + ["rate_limited"]


def test_the_query_reads_and_refuses_what_is_no_select(user: User) -> None:
    rows = user.invoke("run_read_only_query", {"query": "SELECT * FROM orders", "limit": 1})
    assert rows["data"] == {"rows": [{"id": 1, "total": 10.5}], "limit": 1}
    for query, message in (
        ("drop table orders", "only SELECT queries are allowed"),
        ("select 1; delete from orders", "query contains a blocked SQL operation"),
    ):
        refused = user.invoke("run_read_only_query", {"query": query})
        assert (refused["status"], refused["error"]) == ("denied", message)
    assert len(user.invoke("run_read_only_query", {"query": "select id from orders"})["data"]) == 2
    wrong = user.invoke("run_read_only_query", {"query": "select * from nothing"})
    assert (wrong["status"], wrong["error_type"]) == ("error", "OperationalError")


def test_the_contact_is_always_held_and_its_data_are_hidden_from_the_reviewer(
    moved: Moved, user: User, person: requests.Session
) -> None:
    call = ("update_contact", {"customer_id": "cus_123", "email": "new@example.com"})
    held = user.invoke(*call)
    assert (held["status"], held["message"]) == ("requires_approval", "approval is required")
    shown = person.get(f"{moved.stack.base_url}/api/v1/approvals/{held['approval_id']}")
    assert shown.json()["arguments"]["email"] == "[REDACTED]"
    assert "new@example.com" not in shown.text
    decide(moved.stack, person, held["approval_id"])
    ran = user.invoke(*call, approval_id=held["approval_id"])
    assert ran["data"]["contact"] == {"email": "new@example.com", "phone": "+15550000000"}
    assert "new@example.com" not in str(user.get("audit"))


def test_the_issue_is_created_with_a_token_that_is_written_nowhere(
    user: User, github: GitHub
) -> None:
    call = {"repo": "a/b", "title": "Broken", "body": "It broke.", "token": "ghp_0123456789"}
    made = user.invoke("create_github_issue", call)
    assert (made["status"], made["error"]) == ("success", None)
    assert made["data"]["number"] == 1
    assert github.issues == [
        {"path": "/repos/a/b/issues", "authorization": "Bearer ghp_0123456789",
         "title": "Broken", "body": "It broke."},
    ]  # fmt: skip
    assert "ghp_0123456789" not in str(user.get("audit"))


def test_the_issues_token_is_not_found_in_an_environment_that_is_empty(user: User) -> None:
    """The server has one; what a tool took from there has to be handed to it otherwise."""
    result = user.invoke("create_github_issue", {"repo": "a/b", "title": "T", "body": "B"})
    assert (result["status"], result["error_type"]) == ("error", "KeyError")
    assert result["error"] == "'GITHUB_TOKEN'"


def test_a_secret_in_an_error_of_the_library_is_hidden(user: User) -> None:
    """`urllib` quotes a header that it refuses, and the token with it."""
    call = {"repo": "a/b", "title": "T", "body": "B", "token": "ghp_4444555566\n7777"}
    result = user.invoke("create_github_issue", call)
    assert (result["status"], result["error_type"]) == ("error", "ValueError")
    assert "ghp_4444555566" not in result["error"]
    assert "ghp_4444555566" not in str(user.get("audit"))


def test_the_long_job_runs_in_a_process_of_its_own_and_ends_at_its_deadline(user: User) -> None:
    digest = hashlib.sha256(b"orders").hexdigest()[:12]
    built = user.invoke("rebuild_search_index", {"index_name": "orders", "delay_seconds": 0.1})
    assert built["data"] == {"index_name": "orders", "status": "rebuilt", "digest": digest}
    late = user.invoke("rebuild_search_index", {"index_name": "orders", "delay_seconds": 60})
    assert (late["status"], late["error"]) == ("timeout", "tool timed out after 10 seconds")


def test_the_destructive_tool_wants_its_metadata_and_then_a_person(
    moved: Moved, user: User, person: requests.Session
) -> None:
    call = ("delete_account", {"account_id": "acc_1", "confirm": "DELETE"})
    refused = user.invoke(*call)
    assert (refused["status"], refused["error_type"]) == ("denied", "PolicyDenied")
    assert refused["error"].startswith("destructive action requires break_glass")
    held = user.invoke(*call, metadata={"break_glass": True})
    assert held["status"] == "requires_approval"
    decide(moved.stack, person, held["approval_id"])
    ran = user.invoke(*call, metadata={"break_glass": True}, approval_id=held["approval_id"])
    assert (ran["status"], ran["data"]) == (
        "success", {"account_id": "acc_1", "status": "deleted"},
    )  # fmt: skip


def test_a_key_with_one_scope_calls_and_sees_one_of_them(make_user: MakeUser) -> None:
    reader = make_user("database.*")
    assert [tool["name"] for tool in reader.get("tools")] == ["run_read_only_query"]
    result = reader.invoke("refund_user", {"user_id": "u", "amount": 1, "reason": "r"})
    assert (result["status"], result["error"]) == (
        "denied", "missing required scope: billing.refund",
    )  # fmt: skip


def test_a_module_called_tools_as_in_their_quickstart_stops_the_start_and_says_why(
    tmp_path: Path,
) -> None:
    """Ours would be found in its place, and theirs would never be missed."""
    (tmp_path / "tools.py").write_text("from toolrampart import tool")
    deployment = Deployment(
        tmp_path / "var", PYTHONPATH=str(tmp_path), RAMPART_TOOL_MODULES="tools"
    )
    done = deployment.manage("check")
    assert done.returncode == 1
    assert "module tools: Rampart's own; give yours another name" in done.stderr
