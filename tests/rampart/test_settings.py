"""Settings: every secret may be a file, and a wrong value stops the start in one line."""

import base64
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import environ
import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

from rampart.configuration import Configuration, database, fill_in
from rampart.initialise import initialise
from tests.processes import ROOT, Deployment
from tests.settings_reading import read, refusal

A_KEY = Fernet.generate_key().decode()
A_SECRET = "$is-no-variable-but-the-first-of-many-letters"
SECRETS = {
    "SECRET_KEY": A_SECRET,
    "RAMPART_ARGUMENT_KEYS": f"{A_KEY},{Fernet.generate_key().decode()}",
    "DATABASE_URL": "sqlite:////tmp/elsewhere.sqlite3",
    "REDIS_URL": "redis://127.0.0.1:1/0",
}
WHAT_DJANGO_SEES: dict[str, Callable[[dict[str, Any]], str]] = {
    "SECRET_KEY": lambda settings: settings["SECRET_KEY"],
    "RAMPART_ARGUMENT_KEYS": lambda settings: ",".join(settings["RAMPART_ARGUMENT_KEYS"]),
    "DATABASE_URL": lambda settings: "sqlite:///" + settings["DATABASES"]["default"]["NAME"],
    "REDIS_URL": lambda settings: settings["REDIS_URL"],
}


# Secrets.


@pytest.mark.feature("E4")
@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_may_be_given_in_a_file(bare: Deployment, name: str) -> None:
    file = bare.folder / "mounted"
    file.write_text(f"{SECRETS[name]}\n")
    assert WHAT_DJANGO_SEES[name](read(bare, **{f"{name}_FILE": str(file)})) == SECRETS[name]


@pytest.mark.feature("E4")
@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_may_be_given_as_it_is(bare: Deployment, name: str) -> None:
    assert WHAT_DJANGO_SEES[name](read(bare, **{name: SECRETS[name]})) == SECRETS[name]


@pytest.mark.feature("E4")
@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_given_both_ways_stops_the_start(bare: Deployment, name: str) -> None:
    file = bare.folder / "mounted"
    file.write_text(SECRETS[name])
    line = refusal(bare, **{name: SECRETS[name], f"{name}_FILE": str(file)})
    assert line == f"{name} and {name}_FILE are both set: keep one"


@pytest.mark.feature("E4")
@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_secrets_file_that_cannot_be_read_stops_the_start(
    bare: Deployment, name: str, content: bytes | None
) -> None:
    file = bare.folder / "mounted"
    if content is not None:
        file.write_bytes(content)
    assert f"{name}_FILE" in refusal(bare, **{f"{name}_FILE": str(file)})


@pytest.mark.feature("E3")
@pytest.mark.parametrize("name", ["SECRET_KEY", "RAMPART_ARGUMENT_KEYS"])
def test_a_secret_has_no_default(bare: Deployment, name: str) -> None:
    file = bare.folder / "secrets.env"
    lines = [line for line in file.read_text().splitlines() if not line.startswith(name)]
    file.write_text("\n".join(lines))
    assert f"{name} is not set" in refusal(bare)


@pytest.mark.feature("E3")
def test_a_fresh_tree_has_no_secret_at_all(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "RAMPART_VAR": str(tmp_path / "none")}
    done = subprocess.run(
        [sys.executable, "manage.py", "check"], cwd=ROOT, env=environment, capture_output=True
    )
    assert done.returncode == 1 and b"SECRET_KEY is not set" in done.stderr


# Wrong values.

WRONG = {
    "SECRET_KEY": "short",
    "RAMPART_ARGUMENT_KEYS": "not-a-fernet-key",
    "DATABASE_URL": "mysql://localhost/db",
    "RAMPART_PORT": "eighty",
    "RAMPART_WEB_WORKERS": "0",
    "RAMPART_WEB_THREADS": "٣",
    "RAMPART_SYNC_WAIT_SECONDS": "-1",
    "RAMPART_MAX_PENDING_PER_KEY": "1.5",
    "RAMPART_APPROVAL_TTL": "1 day",
    "RAMPART_RESULT_RETENTION": "24",
    "RAMPART_MAX_KEY_LIFETIME": "-1d",
    "RAMPART_RETENTION_LEDGER": "for ever",
    "RAMPART_RETENTION_CALLS": "365",
    "RAMPART_RETENTION_NOTICES": "-1d",
    "RAMPART_RETENTION_SESSIONS": "never",
    "RAMPART_RETENTION_KEYS": "1 year",
    "RAMPART_RETENTION_ADMIN": "90 d",
    "RAMPART_UNRULED_WRITES": "perhaps",
    "RAMPART_PUBLIC_URL": "http://[x",
    "RAMPART_TRUSTED_PROXIES": "10.0.0.1/8",
    "DEBUG": "maybe",
}


@pytest.mark.feature("E4")
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_stops_the_start_in_one_line_that_names_it(
    bare: Deployment, name: str
) -> None:
    assert name in refusal(bare, **{name: WRONG[name]})


@pytest.mark.feature("E4")
@pytest.mark.parametrize("name", ["RAMPART_PORT", "RAMPART_PUBLIC_URL", "SECRET_KEY", "DEBUG"])
def test_a_process_ends_with_that_line_alone(bare: Deployment, name: str) -> None:
    done = bare.manage("check", **{name: WRONG[name]})
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert line.startswith(f"rampart: {name}: ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RAMPART_PORT", "65536"),
        ("RAMPART_PORT", ""),
        ("RAMPART_PUBLIC_URL", "rampart.example"),
        ("RAMPART_PUBLIC_URL", "ftp://rampart.example"),
        ("RAMPART_PUBLIC_URL", "https://"),
        ("RAMPART_APPROVAL_TTL", "1234567d"),
        ("RAMPART_ARGUMENT_KEYS", ","),
    ],
)
def test_more_wrong_values_are_told_apart(bare: Deployment, name: str, value: str) -> None:
    assert name in refusal(bare, **{name: value})


def test_no_secret_is_shown_in_a_refusal(bare: Deployment) -> None:
    assert "hunter2" not in refusal(bare, DATABASE_URL="mysql://u:hunter2@localhost/db")
    assert "hunter2" not in refusal(bare, RAMPART_ARGUMENT_KEYS="hunter2")
    assert "hunter2" not in refusal(bare, SECRET_KEY="hunter2")


# Right values.


@pytest.mark.feature("E3")
def test_debug_is_off_unless_it_is_asked_for(bare: Deployment) -> None:
    assert read(bare)["DEBUG"] is False
    assert read(bare, DEBUG="true")["DEBUG"] is True


def test_defaults_are_the_contracts(bare: Deployment) -> None:
    defaults = {
        "RAMPART_HOST": "127.0.0.1",
        "RAMPART_PORT": 8000,
        "RAMPART_SYNC_WAIT_SECONDS": 20,
        "RAMPART_APPROVAL_TTL": timedelta(hours=24),
        "RAMPART_RESULT_RETENTION": timedelta(hours=24),
        "RAMPART_UNRULED_WRITES": "allow",
        "REDIS_URL": "",
        "RAMPART_TOOL_MODULES": [],
        "RAMPART_TRUSTED_PROXIES": [],
    }
    settings = read(bare)
    assert {name: settings[name] for name in defaults} == defaults


@pytest.mark.parametrize(
    ("url", "secure"), [("https://r.example/", True), ("http://r.example:8000", False), ("", False)]
)
def test_the_public_url_decides_on_cookies_and_hsts(
    bare: Deployment, url: str, secure: bool
) -> None:
    settings = read(bare, RAMPART_PUBLIC_URL=url)
    assert settings["RAMPART_PUBLIC_URL"] == url.rstrip("/")
    assert settings["SESSION_COOKIE_SECURE"] is settings["CSRF_COOKIE_SECURE"] is secure
    assert bool(settings["SECURE_HSTS_SECONDS"]) is secure


@pytest.mark.feature("K2")
def test_what_is_over_is_kept_for_a_time_and_the_ledger_for_ever(bare: Deployment) -> None:
    names = ("LEDGER", "CALLS", "NOTICES", "SESSIONS", "KEYS", "ADMIN")
    settings = read(bare)
    days = [settings[f"RAMPART_RETENTION_{name}"] for name in names]
    assert days == [each and timedelta(days=each) for each in (None, 365, 90, 90, None, 90)]
    chosen = read(bare, RAMPART_RETENTION_LEDGER="0d", RAMPART_RETENTION_CALLS="forever")
    assert chosen["RAMPART_RETENTION_LEDGER"] == timedelta(0)
    assert chosen["RAMPART_RETENTION_CALLS"] is None


def test_a_default_that_was_chosen_is_told_from_one_that_nobody_chose() -> None:
    assert configured(A="forever").is_set("A")
    assert not configured(A=" ").is_set("A") and not configured().is_set("A")


def test_the_embedded_database_is_sqlite_in_var(tmp_path: Path) -> None:
    config = database("", tmp_path)
    assert config["ENGINE"].endswith("sqlite3")
    assert config["NAME"] == str(tmp_path / "rampart.sqlite3")
    assert "WAL" in config["OPTIONS"]["init_command"]


@pytest.mark.parametrize("text", ["yes", "TRUE ", "2"])
def test_a_flag_is_one_of_few_words(text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^F: "):
        configured(F=text).flag("F")


def configured(**values: str) -> Configuration:
    """A configuration of these values alone."""
    env = environ.Env()
    env.ENVIRON = values
    return Configuration(env)


# secrets.env.


@pytest.mark.feature("E2")
def test_commands_read_secrets_env_by_themselves(bare: Deployment) -> None:
    assert "SECRET_KEY" not in bare.environment
    done = bare.manage("check")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.feature("E2")
def test_the_environment_beats_secrets_env(bare: Deployment) -> None:
    assert read(bare, SECRET_KEY=A_SECRET)["SECRET_KEY"] == A_SECRET


@pytest.mark.feature("E2", "E4")
def test_a_secrets_file_beats_secrets_env_too(bare: Deployment) -> None:
    file = bare.folder / "mounted"
    file.write_text(A_SECRET)
    assert read(bare, SECRET_KEY_FILE=str(file))["SECRET_KEY"] == A_SECRET


def test_filling_in_leaves_what_is_set_alone(tmp_path: Path) -> None:
    file = tmp_path / "secrets.env"
    file.write_text("A=file\nB=file\nC=file\n")
    given = {"A": "set", "B_FILE": "/b"}
    with mock.patch.object(environ.Env, "ENVIRON", given):
        fill_in(environ.Env(), file)
        fill_in(environ.Env(), tmp_path / "none")
    assert given == {"A": "set", "B_FILE": "/b", "C": "file"}


@pytest.mark.feature("E3")
def test_secrets_are_made_for_the_owner_alone_and_never_overwritten(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        initialise(tmp_path / "var")
    finally:
        os.umask(umask)
    file = tmp_path / "var" / "secrets.env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    first = file.read_text()
    initialise(tmp_path / "var")
    assert file.read_text() == first
    initialise(tmp_path / "other")
    assert (tmp_path / "other" / "secrets.env").read_text() != first


@pytest.mark.parametrize("end", ["", "\n"])
def test_secrets_of_an_earlier_version_get_the_key_that_it_did_not_have(
    tmp_path: Path, end: str
) -> None:
    file = tmp_path / "secrets.env"
    file.write_text(f"SECRET_KEY=old\n# ours\nRAMPART_TOOL_MODULES=a,b{end}")
    file.chmod(0o600)
    initialise(tmp_path)
    before, key = file.read_text().split("\nRAMPART_CHECKPOINT_KEY=")
    assert before == "SECRET_KEY=old\n# ours\nRAMPART_TOOL_MODULES=a,b"
    assert len(base64.b64decode(key)) == 32 and key.endswith("\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    once = file.read_text()
    initialise(tmp_path)
    assert file.read_text() == once


@pytest.mark.parametrize(
    "line",
    [
        "RAMPART_CHECKPOINT_KEY=",
        "RAMPART_CHECKPOINT_KEY_FILE=/k",
        "export RAMPART_CHECKPOINT_KEY=x",
    ],
)
def test_what_is_said_of_the_checkpoint_key_stays(tmp_path: Path, line: str) -> None:
    file = tmp_path / "secrets.env"
    file.write_text(f"SECRET_KEY=old\n{line}\n")
    initialise(tmp_path)
    assert file.read_text() == f"SECRET_KEY=old\n{line}\n"


@pytest.mark.feature("E3")
@pytest.mark.parametrize("was", ["", "SECRET_KEY=old\nRAMPART_ARGUMENT_KEYS=older\n"])
def test_processes_that_begin_at_once_agree_on_the_secrets(tmp_path: Path, was: str) -> None:
    """Each says what it found after it had run; the barrier is a file that all wait for."""
    code = (
        "import os, sys; from pathlib import Path; from rampart.initialise import initialise\n"
        "go, var = Path(sys.argv[1]), Path(sys.argv[2])\n"
        "print('ready', flush=True)\n"
        "while not go.exists(): pass\n"
        "initialise(var); print((var / 'secrets.env').read_text())"
    )
    go, var = tmp_path / "go", tmp_path / "var"
    if was:
        var.mkdir()
        (var / "secrets.env").write_text(was)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(go), str(var)],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(6)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    go.touch()
    answers = {process.communicate(timeout=30)[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 6
    assert len(answers) == 1
    assert answers.pop().count("RAMPART_CHECKPOINT_KEY=") == 1
    assert sorted(path.name for path in var.iterdir()) == ["broker", "secrets.env"]
