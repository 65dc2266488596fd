"""Secrets planted wherever a whole deployment takes text, and looked for wherever it keeps some."""

import html
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests import servers
from tests.acceptance.test_secrets import EVERY_TABLE, everything_below, everything_in_redis
from tests.approvals.notices.receivers import (
    HTTPReceiver,
    MailReceiver,
    http_receiver,
    mail_receiver,
)
from tests.backup_kit import BINARIES
from tests.stack import Stack, running, until

pytestmark = [pytest.mark.stack, pytest.mark.feature("U4", "T14")]

MODULES = "tools.examples.demo,tests.kit_tools,tests.planted_tools"
PLANTED = re.compile(r"(?i)plant-[a-z0-9-]+?-tnalp")
"""Each secret says where it was planted; no other text looks like one."""
MOST_PAGES = 400


def secret(place: str) -> str:
    return f"plant-{place}-tnalp"


def leaks(text: str) -> set[str]:
    """The secrets that stand in a text, in whatever case and however it is escaped."""
    return set(PLANTED.findall(html.unescape(text)))


class Garden:
    """A deployment in which secrets were planted once, in every place, by real requests."""

    def __init__(self, stack: Stack, hooks: HTTPReceiver, mails: MailReceiver) -> None:
        self.stack, self.hooks, self.mails = stack, hooks, mails
        self.key = stack.new_key("gardener", ("plant.*", "kit.*"))
        self.password = stack.new_person("rosa", "decide_approval", "view_approval")
        self._make_root()
        self.rosa = stack.signed_in("rosa", self.password)
        self.root = stack.signed_in("root", "root-has-a-long-password")
        self._add_channels()
        self._plant_in_calls()
        self._plant_in_held_calls()
        self._plant_in_requests()
        self._plant_at_the_door()
        self._plant_in_the_admin()
        until(lambda: self.told("approval.approved"), 60)
        until(lambda: self.mails.messages, 60)

    def _make_root(self) -> None:
        self.stack.python(
            "from django.contrib.auth.models import User\n"
            "User.objects.create_superuser('root', password='root-has-a-long-password')\n"
            "User.objects.filter(username='rosa').update(email='rosa@example.org')"
        )

    def _add_channels(self) -> None:
        """By the form, with secrets in their addresses."""
        for kind in ("webhook", "slack"):
            url = f"http://127.0.0.1:{self.hooks.port}/{secret(f'{kind}-path')}"
            given = {"name": kind, "kind": kind, "is_enabled": "on", "tool": "*", "least_risk": "1"}
            answer = self.post("/admin/approvals/channel/add/", **given, url=url)
            assert answer.status_code in (200, 302), answer.text

    def post(self, path: str, **form: Any) -> requests.Response:
        """The superuser posts a form."""
        token = {"csrfmiddlewaretoken": self.root.cookies["csrftoken"]}
        url = f"{self.stack.base_url}{path}"
        return self.root.post(url, data=token | form, timeout=60, allow_redirects=False)

    def call(self, tool: str, place: str, how: str = "return", **more: Any) -> dict[str, Any]:
        """A call with a secret of its own in each argument that hides one."""
        arguments = {
            "card": {"cardNumber": secret(place)},
            "how": how,
            "pin": [{"deep": [secret(f"{place}-pin")]}],
            "more": {"Password": secret(f"{place}-word"), "in": [{"API_KEY": secret(place)}]},
            **more,
        }
        given = {"Prefer": "wait=30"} if tool != "plant_held" else {}
        body = {
            "arguments": arguments,
            "metadata": {"Token": secret(f"{place}-metadata"), "a": {"authorization": secret("b")}},
        }
        answer = self.stack.post(f"tools/{tool}/invoke", body, self.key, **given)
        found: dict[str, Any] = answer.json()
        return found

    def _plant_in_calls(self) -> None:
        ways = ["return", "raise", "chain", "validate", "name"]
        read = [self.call("plant_reading", f"read-{how}", how)["status"] for how in ways]
        assert read == ["success", "error", "error", "error", "error"]
        written = [self.call("plant", f"write-{how}", how)["status"] for how in [*ways, "hang"]]
        assert written == [*read, "timeout"]
        assert self.call("plant", "write-die", "die")["status"] == "killed"
        wrong = self.call("plant", "wrong", card={"cardNumber": [secret("wrong-type")]})
        assert wrong["status"] == "validation_error"
        extra = self.call("plant", "extra", password=secret("extra-argument"))
        assert extra["status"] == "validation_error"
        keyed = {"arguments": {"card": {"cardNumber": secret("replayed")}}}
        for _ in range(2):
            self.stack.post("tools/plant/invoke", keyed, self.key, **{"Idempotency-Key": "k"})

    def _plant_in_held_calls(self) -> None:
        """One for each thing that people do with them; the last one waits on."""
        approved, rejected, edited, _ = (
            self.call("plant_held", f"held-{what}")
            for what in ("approved", "rejected", "edited", "waiting")
        )
        self.decide(approved, "approve")
        self.decide(rejected, "reject")
        self._edit(edited["approval_id"])
        path = f"invocations/{approved['invocation_id']}?wait=30"
        assert self.stack.get(path, self.key).json()["status"] == "success"

    def decide(self, call: dict[str, Any], verb: str) -> None:
        url = f"{self.stack.base_url}/api/v1/approvals/{call['approval_id']}/{verb}"
        answer = self.rosa.post(url, json={"reason_to_agent": "because"}, timeout=60)
        assert answer.status_code == 200, answer.text

    def _edit(self, approval_id: str) -> None:
        """By the desk's own function: a reviewer writes another secret into a hidden argument."""
        arguments = {
            "card": {"number": secret("edit-new"), "holder": "Ben"},
            "how": "raise", "pin": secret("edit-pin"), "more": None,
        }  # fmt: skip
        said = self.stack.python(
            "from django.contrib.auth.models import User\n"
            "from approvals import deciding, editing\n"
            "from approvals.transitions import Said\n"
            f"one = deciding.fresh_approval({approval_id!r})\n"
            "rosa = User.objects.get(username='rosa')\n"
            f"done = editing.edit(one, rosa, {arguments!r}, Said(reason_to_agent='x'),"
            " expected_digest=one.invocation.digest)\n"
            "print(type(done).__name__)"
        )
        assert said.strip() == "Decided", said

    def _plant_in_requests(self) -> None:
        """In query strings, headers and bodies that nobody can read."""
        api, mine = f"{self.stack.base_url}/api/v1", {"Authorization": f"Bearer {self.key}"}
        requests.get(f"{api}/tools?token={secret('query')}", headers=mine, timeout=60)
        requests.get(f"{api}/audit?actor=x&api_key={secret('audit-query')}", timeout=60)
        requests.get(f"{api}/nowhere/{secret('path')}", timeout=60)
        for number, header in enumerate(("Authorization", "X-Rampart-Key", "X-ToolRampart-Key")):
            value = f"Bearer rmp_abcdefghij_{secret(f'header-{number}')}"
            requests.get(f"{api}/tools", headers={header: value}, timeout=60)
        for number, body in enumerate(
            ('{"arguments": {"card": "%s"', '{"a": 1, "a": "%s"}', '{"arguments": NaN, "x": "%s"}')
        ):
            text = body % secret(f"unreadable-{number}")
            url = f"{api}/tools/plant/invoke"
            json_body = {**mine, "Content-Type": "application/json"}
            assert requests.post(url, text, headers=json_body, timeout=60).status_code == 400
        unknown = {"arguments": {"anything": secret("unknown-tool")}}
        assert self.stack.post("tools/no_such_tool/invoke", unknown, self.key).status_code == 404
        self.stack.post("sessions", {"config": {"token": secret("session")}}, self.key)

    def _plant_at_the_door(self) -> None:
        """A password typed where the name belongs, and as a wrong password."""
        with requests.Session() as door:
            url = f"{self.stack.base_url}/admin/login/"
            door.get(url, timeout=60)
            form = {
                "username": secret("user-name"), "password": secret("password"),
                "csrfmiddlewaretoken": door.cookies["csrftoken"], "next": "/admin/",
            }  # fmt: skip
            door.post(f"{url}?next=/admin/&password={secret('login-query')}", form, timeout=60)

    def _plant_in_the_admin(self) -> None:
        password = secret("new-password")
        given = {"password1": password, "password2": password, "usable_password": "true"}
        assert self.post("/admin/auth/user/add/", username="new", **given).status_code == 302

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [body for body in self.hooks.bodies if body.get("type") == kind]

    def pages(self) -> Iterator[tuple[str, str]]:
        """Each page of the admin that links lead to, and its text; what is a verb is not tried."""
        waiting, seen = ["/admin/"], set[str]()
        while waiting and len(seen) < MOST_PAGES:
            path = waiting.pop(0)
            if path in seen or "logout" in path:
                continue
            seen.add(path)
            answer = self.root.get(f"{self.stack.base_url}{path}", timeout=60)
            if "text/html" not in answer.headers.get("Content-Type", ""):
                continue
            yield path, answer.text
            waiting += [
                html.unescape(link) for link in re.findall(r'href="(/admin/[^"#]*)', answer.text)
            ]


@pytest.fixture(scope="module", params=["embedded", "production"])
def garden(request: pytest.FixtureRequest) -> Iterator[Garden]:
    """On SQLite and files, and on PostgreSQL and Redis."""
    with http_receiver() as hooks, mail_receiver() as mails:
        settings = {
            "EMAIL_HOST": "127.0.0.1",
            "EMAIL_PORT": str(mails.port),
            "RAMPART_INTERNAL_RECEIVERS": "127.0.0.1",
            "RAMPART_TOOL_MODULES": MODULES,
        }
        if request.param == "embedded":
            with running(**settings) as stack:
                yield Garden(stack, hooks, mails)
            return
        with (
            servers.postgres(durable=False) as (_, database),
            servers.redis_server() as (_, redis),
            running(DATABASE_URL=database, REDIS_URL=redis, **settings) as stack,
        ):
            yield Garden(stack, hooks, mails)


def test_the_database_has_no_secret_that_can_be_read(garden: Garden) -> None:
    stored = garden.stack.python(EVERY_TABLE)
    assert "plant_held" in stored and "[REDACTED]" in stored
    assert leaks(stored) == set()


def test_what_is_waiting_is_kept_sealed_and_comes_out_whole(garden: Garden) -> None:
    """Else there would be no secret anywhere, and nothing found would prove nothing."""
    opened = garden.stack.python(
        "from approvals import vault\nfrom approvals.models import Invocation\n"
        "row = Invocation.objects.held().filter(modifications=None).get()\n"
        "print(vault.unseal(row.arguments_sealed))"
    )
    assert secret("held-waiting") in opened


def test_neither_logs_nor_files_nor_messages_have_one(garden: Garden) -> None:
    """The database's file with its journal and the broker's messages among them."""
    assert leaks(everything_below(garden.stack.folder)) == set()
    if cache := garden.stack.environment.get("REDIS_URL"):
        assert leaks(everything_in_redis(cache)) == set()


def test_no_page_of_the_admin_shows_one_not_even_to_a_superuser(garden: Garden) -> None:
    shown = dict(garden.pages())
    assert any("/approvals/approval/" in path for path in shown)
    assert any("/audit/event/" in path for path in shown)
    assert {path: leaks(text) for path, text in shown.items() if leaks(text)} == {}


def test_nobody_but_the_caller_reads_one_over_rest(garden: Garden) -> None:
    auditor = garden.stack.new_key("auditor", ("audit.read_all",))
    answers = [garden.stack.get(path, auditor).text for path in ("audit?limit=200", "invocations")]
    api = f"{garden.stack.base_url}/api/v1"
    for path in ("approvals?limit=200", "invocations?limit=200", "audit?limit=200"):
        answers.append(garden.root.get(f"{api}/{path}", timeout=60).text)
    answers.append(requests.get(f"{garden.stack.base_url}/metrics", timeout=60).text)
    assert "plant_held" in "".join(answers)
    assert [leaks(text) for text in answers] == [set()] * len(answers)


def test_the_caller_gets_its_own_results_and_no_arguments_back(garden: Garden) -> None:
    """A result is its own; what it sent is shown redacted to it, too."""
    read = garden.stack.get("audit?limit=200", garden.stack.new_key("gardener", ("audit.read",)))
    assert "plant_reading" in read.text
    assert leaks(read.text) == set()


def test_no_notice_tells_one(garden: Garden) -> None:
    hooks = [seen["body"] for seen in garden.hooks.requests]
    mails = [message.as_string() for _, message in garden.mails.messages]
    assert any("plant_held" in body for body in hooks) and mails
    assert [leaks(text) for text in [*hooks, *mails]] == [set()] * len(hooks + mails)


@pytest.mark.parametrize("form", ["jsonl", "csv", "ocsf"])
def test_no_export_has_one(garden: Garden, form: str, tmp_path: Path) -> None:
    file = tmp_path / f"ledger.{form}"
    garden.stack.manage("export_audit", "--format", form, "--output", str(file))
    text = file.read_text()
    assert "plant_held" in text
    assert leaks(text) == set()


def test_no_backup_has_one(garden: Garden, tmp_path: Path) -> None:
    file, dump = tmp_path / "backup.tar", tmp_path / "database.dump"
    garden.stack.manage("backup", str(file), "--binaries", str(BINARIES))
    with tarfile.open(file) as archive:
        archive.extractall(tmp_path, filter="data")
    if dump.exists():
        text = subprocess.check_output([BINARIES / "pg_restore", "--file=-", dump])
    else:
        text = (tmp_path / "database.sqlite3").read_bytes()
    assert b"plant_held" in text
    assert leaks(text.decode("latin-1")) == set()
