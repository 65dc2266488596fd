"""`import_toolrampart`: what of a real configuration is taken over, what is not, and why."""

import json
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError
from pytest import MonkeyPatch
from pytest_django import Settings
from rest_framework.test import APIClient

from audit import ledger
from audit.events import EventName
from audit.models import Event, local_now
from rampart.importing.toolrampart import INSTEAD
from rampart.management.base import Exit
from tests.conftest import at_once
from tests.peers.conftest import their_folder
from tests.processes import Deployment
from tests.rampart.test_commands import run
from tools import identity, imported_keys, keys
from tools.models import ApiKey

__all__ = ["their_folder"]

pytestmark = pytest.mark.django_db

MAKE_THEIRS = """
import json
from toolrampart import generate_api_key, hash_api_key
made = [generate_api_key() for _ in range(3)]
print(json.dumps([(text, hash_api_key(text)) for text in made]))
"""
ASK_THEM = """
import json, sys
from toolrampart.config import authenticator_from_config, load_config
authenticate = authenticator_from_config(load_config(sys.argv[1])).authenticate
for text in sys.argv[2:]:
    print(json.dumps(authenticate({"x-toolrampart-key": text}).model_dump()))
"""
PLAIN = "trp_this-key-stands-in-the-file-as-it-is-used-0123"
SECRETS = {
    "jwt": "the-secret-of-all-tokens",
    "database": "the-password-of-the-database",
    "redis": "the-password-of-redis",
}
HASH = f"pbkdf2_sha256$210000$c2FsdC1vZi10aGUtdGVzdHM${'A' * 43}="


@dataclass
class Theirs:
    """Keys that the package made and hashed, and its Python."""

    python: Path
    keys: list[tuple[str, str]]

    @property
    def config(self) -> str:
        """Two keys as the package's users have them."""
        (_, first), (_, second), _ = self.keys
        return f"""
            [auth]
            required = true

            [auth.hashed_api_keys.billing-agent]
            actor = "billing"
            scopes = ["refunds.*", "orders.read"]
            hash = "{first}"

            [auth.hashed_api_keys."Nightly Job 2"]
            actor = "nightly"
            scopes = ["*"]
            hash = "{second}"
            active = true
        """

    def ask(self, path: Path, *texts: str) -> list[dict[str, Any]]:
        """Whom their own server takes the holders of these keys for."""
        asked = subprocess.run(
            [self.python, "-I", "-c", ASK_THEM, path, *texts],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return [json.loads(line) for line in asked.stdout.splitlines()]


@pytest.fixture(scope="session")
def theirs(their_folder: Path) -> Theirs:
    python = their_folder / "bin" / "python"
    made = subprocess.run(
        [python, "-I", "-c", MAKE_THEIRS], check=True, capture_output=True, text=True
    )
    return Theirs(python, [(text, slow_hash) for text, slow_hash in json.loads(made.stdout)])


Written = Callable[[str], Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Writes a configuration."""

    def write(text: str) -> Path:
        path = tmp_path / "toolrampart.toml"
        path.write_text(text)
        return path

    return write


def entry(**fields: Any) -> str:
    """One entry of their table, good but for what is given otherwise; None leaves it out."""
    good = {"actor": "a", "scopes": ["x"], "hash": HASH} | fields
    inner = ", ".join(f"{k} = {json.dumps(v)}" for k, v in good.items() if v is not None)
    return f"{{ {inner} }}"


def imported(path: Path, *options: str) -> tuple[dict[str, Any], int]:
    """The document that the command prints, and its exit code."""
    out, _, code = run("import_toolrampart", "--config", str(path), "--json", *options)
    return json.loads(out), code


def nothing_was_written() -> bool:
    rows = (ApiKey.objects, Event.objects, User.objects)
    return not any(manager.exists() for manager in rows)


# Taking over.


@pytest.mark.feature("K4", "E33")
def test_each_hashed_key_is_taken_over_with_its_actor_and_scopes(
    theirs: Theirs, written: Written
) -> None:
    document, code = imported(written(theirs.config))
    assert code == Exit.DONE
    assert set(document) == {"dry_run", "keys", "settings", "history"}
    assert (document["dry_run"], document["history"]) == (False, None)
    assert [(key["id"], key["actor"], key["outcome"]) for key in document["keys"]] == [
        ("billing-agent", "billing", "imported"), ("Nightly Job 2", "nightly", "imported"),
    ]  # fmt: skip
    row = ApiKey.objects.get(imported_id="billing-agent")
    assert (row.actor, row.scopes) == ("billing", ["refunds.*", "orders.read"])
    assert (row.digest, row.slow_hash) == ("", theirs.keys[0][1])
    assert row.must_rotate and row.created_by is None and row.revoked_at is None
    assert row.prefix == document["keys"][0]["prefix"] and row.prefix.startswith("trp_")
    assert len(row.prefix) == 14 and set(row.prefix[4:]) <= set(keys.ALPHABET)
    assert row.expires_at is not None
    assert timedelta(0) <= row.created_at + timedelta(days=30) - row.expires_at < timedelta(1)
    assert row.owner.get_username() == "service:billing" and not row.owner.has_usable_password()


@pytest.mark.feature("K4")
def test_a_holder_is_here_who_it_was_there(theirs: Theirs, written: Written) -> None:
    """Their own server reads the same file, and is asked by the same keys."""
    path = written(theirs.config)
    imported(path)
    texts = [text for text, _ in theirs.keys[:2]]
    for text, there in zip(texts, theirs.ask(path, *texts), strict=True):
        here = imported_keys.find(text, there["metadata"]["key_id"])
        assert here is not None
        assert (here.actor, here.scopes) == (there["actor"], there["scopes"])


@pytest.mark.feature("K4", "U1")
def test_each_key_taken_over_is_one_line_in_the_ledger(theirs: Theirs, written: Written) -> None:
    imported(written(theirs.config))
    first, second = Event.objects.order_by("id")
    assert first.event == second.event == EventName.KEY_IMPORTED
    assert first.actor.startswith("command:")
    row = ApiKey.objects.get(prefix=first.key_prefix)
    assert row.expires_at is not None
    assert first.metadata["imported_id"] == row.imported_id == "billing-agent"
    assert first.metadata["actor"] == "billing" and first.metadata["owner"] == "service:billing"
    assert first.metadata["scopes"] == ["refunds.*", "orders.read"]
    assert first.metadata["expires_at"].startswith(f"{row.expires_at:%Y-%m-%d}")


@pytest.mark.feature("K4")
def test_a_second_run_changes_nothing_and_says_what_is_there(
    theirs: Theirs, written: Written
) -> None:
    path = written(theirs.config)
    imported(path)
    assert imported_keys.find(theirs.keys[0][0], "billing-agent")
    before = list(ApiKey.objects.values()), Event.objects.count(), User.objects.count()
    document, code = imported(path)
    assert code == Exit.FINDINGS
    assert [(key["outcome"], key["reason"], key["prefix"]) for key in document["keys"]] == [
        ("skipped", "already there", ApiKey.objects.get(imported_id=key_id).prefix)
        for key_id in ("billing-agent", "Nightly Job 2")
    ]
    assert (list(ApiKey.objects.values()), Event.objects.count(), User.objects.count()) == before


@pytest.mark.feature("K4")
def test_a_dry_run_says_what_would_be_and_writes_nothing(theirs: Theirs, written: Written) -> None:
    path = written(theirs.config)
    document, code = imported(path, "--dry-run")
    assert (code, document["dry_run"]) == (Exit.DONE, True)
    assert [(key["outcome"], key["prefix"], key["expires_at"]) for key in document["keys"]] == [
        ("importable", "", None)
    ] * 2
    assert nothing_was_written()
    told = run("import_toolrampart", "--config", str(path), "--dry-run")[1]
    assert told == "2 would be imported, 0 left out\n"


@pytest.mark.feature("I2", "K4")
@pytest.mark.parametrize(
    ("longest", "given", "days"), [(365, None, 30), (7, None, 7), (365, "90d", 90), (7, "1d", 1)]
)
def test_they_live_a_month_or_as_long_as_is_said_and_allowed(
    written: Written, settings: Settings, longest: int, given: str | None, days: int
) -> None:
    settings.RAMPART_MAX_KEY_LIFETIME = timedelta(days=longest)
    path = written(f"[auth.hashed_api_keys]\nk = {entry()}")
    imported(path, *(["--lifetime", given] if given else []))
    row = ApiKey.objects.get()
    assert row.expires_at is not None
    assert abs(row.expires_at - local_now() - timedelta(days=days)) < timedelta(minutes=5)


def test_the_table_for_people_has_a_line_for_each_key_and_setting(
    theirs: Theirs, written: Written
) -> None:
    out, err, code = run("import_toolrampart", "--config", str(written(theirs.config)))
    lines = out.splitlines()
    assert lines[0].split() == ["id", "actor", "outcome", "prefix", "reason"]
    assert lines[1].split()[:3] == ["billing-agent", "billing", "imported"]
    assert lines[-1].split(maxsplit=1)[0] == "auth.required"
    assert (err, code) == ("2 imported, 0 left out\n", Exit.DONE)


# Using what was taken over.


@pytest.mark.feature("K4", "T12")
@pytest.mark.parametrize("header", ["Authorization", "X-ToolRampart-Key", "X-Rampart-Key"])
def test_an_agent_goes_on_with_its_old_key_once_it_has_said_which_it_is(
    theirs: Theirs, written: Written, tools_synced: None, header: str
) -> None:
    imported(written(theirs.config))
    text = theirs.keys[0][0]
    key = {header: f"Bearer {text}" if header == "Authorization" else text}
    named = key | {"X-ToolRampart-Key-Id": "billing-agent"}
    seen = [answer_to(headers) for headers in (key, named, key, named)]
    assert seen == [(401, "invalid_credentials"), (200, None), (200, None), (200, None)]
    identity.forget_all()
    assert answer_to(key) == (200, None)
    assert answer_to({header: key[header] + "A"}) == (401, "invalid_credentials")
    assert ApiKey.objects.get(imported_id="billing-agent").last_used_at is not None


def answer_to(headers: dict[str, str]) -> tuple[int, str | None]:
    """How the API answers these credentials."""
    answer = APIClient().get("/api/v1/tools", headers=headers)
    return answer.status_code, answer.json().get("code")


@pytest.mark.feature("K4")
def test_an_imported_key_ends_and_is_taken_back_like_any_other(
    theirs: Theirs, written: Written, tools_synced: None
) -> None:
    imported(written(theirs.config))
    rows = ApiKey.objects.filter(imported_id="billing-agent")
    key = {"X-Rampart-Key": theirs.keys[0][0]}
    assert answer_to(key | {"X-ToolRampart-Key-Id": "billing-agent"}) == (200, None)
    identity.forget_all()
    rows.update(expires_at=local_now())
    assert answer_to(key) == (401, "key_expired")
    assert run("revoke_key", rows.get().prefix)[2] == Exit.DONE
    identity.forget_all()
    assert answer_to(key) == (401, "key_revoked")


@pytest.mark.feature("T12")
def test_a_full_queue_of_first_uses_is_503_and_lets_nobody_in(
    theirs: Theirs, written: Written, tools_synced: None, monkeypatch: MonkeyPatch
) -> None:
    imported(written(theirs.config))
    named = {"X-Rampart-Key": theirs.keys[0][0], "X-ToolRampart-Key-Id": "billing-agent"}
    with monkeypatch.context() as patch:
        patch.setattr(imported_keys, "_places", threading.BoundedSemaphore(1))
        with imported_keys._places:
            answer = APIClient().get("/api/v1/tools", headers=named)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer_to(named) == (200, None)


# Leaving out.

LEFT_OUT = {
    "not active": (entry(active=False), "skipped", "it is not active"),
    "active by a word": (entry(active="off"), "refused", "active: "),
    "active by a number": (entry(active=0), "refused", "active: "),
    "no hash": (entry(hash=None), "refused", "hash: field required"),
    "a hash that is a number": (entry(hash=7), "refused", "hash: "),
    "a text for a hash": (entry(hash=PLAIN), "refused", "hash: its algorithm"),
    "another algorithm": (entry(hash="argon2" + HASH), "refused", "hash: its algorithm"),
    "half a hash": (entry(hash=HASH[:-5]), "refused", "hash: it is not"),
    "a weak hash": (entry(hash=HASH.replace("210000", "1000")), "refused", "too weak"),
    "a dear hash": (entry(hash=HASH.replace("210000", "99999999")), "refused", "hold up"),
    "no actor": (entry(actor=None), "refused", "actor: field required"),
    "a blank actor": (entry(actor=" "), "refused", "actor: "),
    "an actor with a control": (entry(actor="a\u001b[2J"), "refused", "actor: "),
    "an actor without end": (entry(actor="a" * 201), "refused", "actor: "),
    "no scopes": (entry(scopes=None), "refused", "scope: "),
    "an empty list of scopes": (entry(scopes=[]), "refused", "scope: "),
    "a scope for scopes": (entry(scopes="x"), "refused", "scopes: "),
    "a scope that is a number": (entry(scopes=["x", 1]), "refused", "scopes.1: "),
    "a scope with a blank": (entry(scopes=["a b"]), "refused", "scope: "),
    "a scope with a control": (entry(scopes=["a\u0000"]), "refused", "scope: "),
    "no table": ('"a key"', "refused", "entry: "),
}


@pytest.mark.feature("K4")
@pytest.mark.parametrize("name", LEFT_OUT)
def test_an_entry_that_can_not_be_is_left_out_with_the_reason(written: Written, name: str) -> None:
    wrong, outcome, reason = LEFT_OUT[name]
    path = written(f"[auth.hashed_api_keys]\nodd = {wrong}\ngood = {entry(actor='good')}")
    document, code = imported(path)
    odd, good = document["keys"]
    assert (odd["id"], odd["outcome"], odd["prefix"]) == ("odd", outcome, "")
    assert reason in odd["reason"]
    assert PLAIN not in str(document) and HASH[21:40] not in str(document)
    assert (good["outcome"], code) == ("imported", Exit.FINDINGS)
    assert ApiKey.objects.get().actor == "good"


@pytest.mark.feature("K4")
@pytest.mark.parametrize(
    "key_id", ["", " ", "ends with a blank ", "schlüssel", "zero\u0000", "line\nbreak", "k" * 201]
)
def test_an_id_that_no_header_can_carry_is_refused(written: Written, key_id: str) -> None:
    document, code = imported(written(f"[auth.hashed_api_keys]\n{json.dumps(key_id)} = {entry()}"))
    assert (document["keys"][0]["outcome"], code) == ("refused", Exit.FINDINGS)
    assert document["keys"][0]["reason"].startswith("id: ")
    assert nothing_was_written()


@pytest.mark.feature("K4")
def test_a_key_whose_text_is_in_the_file_is_refused_and_named_by_its_actor_alone(
    theirs: Theirs, written: Written
) -> None:
    text, slow_hash = theirs.keys[2]
    path = written(
        f'[auth.api_keys]\n"{PLAIN}" = {{ actor = "careless", scopes = ["*"] }}\n'
        f'"{text}" = "no table"\n'
        f'[auth.hashed_api_keys]\n"{text}" = {entry(hash=slow_hash, actor="confused")}'
    )
    document, code = imported(path)
    assert code == Exit.FINDINGS
    assert [(key["id"], key["actor"], key["outcome"]) for key in document["keys"]] == [
        ("(not shown)", "confused", "refused"),
        ("(not shown)", "careless", "refused"),
        ("(not shown)", "", "refused"),
    ]  # fmt: skip
    assert nothing_was_written()


@pytest.mark.feature("K4")
def test_settings_are_listed_with_what_to_set_here_and_never_with_their_values(
    written: Written,
) -> None:
    path = written(f"""
        [auth]
        trust_headers = true
        jwt_secret = "{SECRETS["jwt"]}"
        [storage]
        storage_url = "postgresql://app:{SECRETS["database"]}@db/audit"
        redis_url = "redis://:{SECRETS["redis"]}@cache/0"
        [telemetry]
        service_name = "x"
    """)
    document, code = imported(path)
    assert code == Exit.DONE and document["keys"] == []
    listed = {setting["name"]: setting["instead"] for setting in document["settings"]}
    assert set(listed) == {
        "auth.trust_headers", "auth.jwt_secret", "storage.storage_url", "storage.redis_url",
        "telemetry.service_name",
    }  # fmt: skip
    assert listed["auth.jwt_secret"] == "RAMPART_JWT_SECRET"
    assert (listed["storage.storage_url"], listed["storage.redis_url"]) == (
        "DATABASE_URL", "REDIS_URL",
    )  # fmt: skip


def test_every_setting_of_theirs_is_known(theirs: Theirs) -> None:
    """By their own list of what a file may say; keys are no settings."""
    ask = (
        "import json; from toolrampart.config import ToolRampartConfig as C;"
        "print(json.dumps([f'{n}.{f}' for n, s in C().model_dump().items() for f in s]))"
    )
    asked = subprocess.run(
        [theirs.python, "-I", "-c", ask], check=True, capture_output=True, text=True
    )
    assert set(json.loads(asked.stdout)) - set(INSTEAD) == {"auth.api_keys", "auth.hashed_api_keys"}
    assert set(INSTEAD) <= set(json.loads(asked.stdout))


@pytest.mark.feature("K4")
def test_history_is_not_imported_and_it_does_not_look_as_if_it_were(
    theirs: Theirs, written: Written, tmp_path: Path
) -> None:
    path = written(theirs.config)
    document, code = imported(path, "--db", str(tmp_path / "audit.db"))
    assert code == Exit.FINDINGS
    assert [key["outcome"] for key in document["keys"]] == ["imported"] * 2
    assert document["history"].startswith("not imported")
    out, _, code = run("import_toolrampart", "--config", str(path), "--db", "audit.db")
    assert "history  not imported" in out and code == Exit.FINDINGS


# What can't be read or asked.


@pytest.mark.feature("K4", "E33")
@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f'[auth.api_keys."{PLAIN}"]\n[auth.api_keys."{PLAIN}"]', "it is not TOML, line 2"),
        (f'[auth.api_keys]\n"{PLAIN}" = 1\n"{PLAIN}" = 2\n', "it is not TOML, line 3"),
        (f'[auth.api_keys]\n"{PLAIN}', "it is not TOML, "),
        ("auth = 7", "auth is not a table"),
        ("[auth]\nhashed_api_keys = []", "hashed_api_keys is not a table"),
        ("[auth]\napi_keys = 'x'", "api_keys is not a table"),
        ("storage = 'x'", "storage is not a table"),
    ],
)
def test_a_file_that_is_no_configuration_could_not_be_read(
    written: Written, text: str, says: str
) -> None:
    path = written(text)
    out, err, code = run("import_toolrampart", "--config", str(path), "--json")
    assert (out, code) == ("", Exit.COULD_NOT_RUN)
    assert err.startswith(f"{path}: {says}") and "\n" not in err
    assert PLAIN[:8] not in err


def test_a_file_that_is_not_there_or_no_text_could_not_be_read(tmp_path: Path) -> None:
    noise = tmp_path / "noise"
    noise.write_bytes(b"\xff\xfe\x00")
    for path, says in (
        (tmp_path / "nowhere", "No such file"),
        (tmp_path, "Is a directory"),
        (noise, "not text in UTF-8"),
    ):
        out, err, code = run("import_toolrampart", "--config", str(path))
        assert (out, code) == ("", Exit.COULD_NOT_RUN) and says in err


@pytest.mark.feature("E33", "I2")
@pytest.mark.parametrize("lifetime", ["soon", "9999d", "-1d"])
def test_a_lifetime_that_can_not_be_is_misuse(
    theirs: Theirs, written: Written, lifetime: str
) -> None:
    path = written(theirs.config)
    out, err, code = run("import_toolrampart", "--config", str(path), f"--lifetime={lifetime}")
    assert (out, code) == ("", Exit.USAGE) and err.startswith("--lifetime: ")
    assert nothing_was_written()


# All or nothing.


@pytest.mark.feature("K4", "U1")
def test_either_all_keys_are_taken_over_or_none(
    theirs: Theirs, written: Written, monkeypatch: MonkeyPatch
) -> None:
    record, seen = ledger.record, []

    def fails_at_the_second(*arguments: Any, **named: Any) -> Event:
        seen.append(named["key_prefix"])
        if len(seen) == 2:
            raise OperationalError("the ledger is away")
        return record(*arguments, **named)

    monkeypatch.setattr(ledger, "record", fails_at_the_second)
    out, _, code = run("import_toolrampart", "--config", str(written(theirs.config)))
    assert (out, code, len(seen)) == ("", Exit.COULD_NOT_RUN, 2)
    assert nothing_was_written()


@pytest.mark.feature("K4")
@pytest.mark.django_db(transaction=True)
def test_of_four_imports_at_once_each_key_is_taken_over_once(written: Written) -> None:
    entries = "\n".join(f"k{n} = {entry(actor=f'a{n}')}" for n in range(20))
    path = written(f"[auth.hashed_api_keys]\n{entries}")
    codes = Counter(at_once(4, lambda _: run("import_toolrampart", "--config", str(path))[2]))
    assert codes[Exit.DONE] == 1
    assert set(codes) <= {Exit.DONE, Exit.FINDINGS, Exit.COULD_NOT_RUN}
    assert ApiKey.objects.count() == 20
    assert Event.objects.filter(event=EventName.KEY_IMPORTED).count() == 20


# Secrets.


@pytest.mark.feature("K4", "T14")
@pytest.mark.parametrize("options", [(), ("--json",), ("--dry-run",)])
def test_no_secret_of_the_file_comes_out_of_the_process_or_into_the_ledger(
    theirs: Theirs, migrated: Deployment, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """A real process, with all that it says and logs; the slow hash stands in its row alone."""
    path = tmp_path / "toolrampart.toml"
    path.write_text(f"""
        {theirs.config.replace("billing-agent", f"planted-{tmp_path.name}")}
        [auth.hashed_api_keys.broken]
        actor = "broken"
        scopes = ["x"]
        hash = "{PLAIN}"
        [auth.api_keys."{PLAIN}"]
        actor = "careless"
        scopes = ["*"]
        [storage]
        storage_url = "postgresql://app:{SECRETS["database"]}@db/audit"
        redis_url = "redis://:{SECRETS["redis"]}@cache/0"
    """)
    done = migrated.manage("import_toolrampart", "--config", str(path), *options)
    assert done.returncode == Exit.FINDINGS, done.stderr
    assert "careless" in done.stdout and "storage.redis_url" in done.stdout
    ask = "from audit.models import Event; print(list(Event.objects.values()))"
    ledger_told = migrated.manage("shell", "--verbosity", "0", "--command", ask).stdout
    assert "--dry-run" in options or f"planted-{tmp_path.name}" in ledger_told
    salts_and_digests = [part for _, made in theirs.keys for part in made.split("$")[2:]]
    for secret in (PLAIN[4:12], *SECRETS.values(), *salts_and_digests):
        assert secret not in done.stdout + done.stderr + ledger_told
