"""Tools' secrets: what they may be called, when they are read, and that no answer shows them."""

import base64
import importlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from hypothesis import example, given
from hypothesis import strategies as st

from approvals import pipeline
from approvals.models import Approval, Invocation
from audit.models import Event
from audit.redaction import REDACTED
from sandbox.process import Workshop
from sandbox.profiles import Grants
from tests.admin.conftest import browser
from tests.conftest import Agent, MakeAgent, work
from tests.processes import ROOT, Deployment
from tests.secret_tools import NAME, digest_of
from tests.tools.conftest import Bench
from tools import catalogue, isolated_process, registry, require_approval, secrecy, secrets, tool
from tools import workshop as workshops
from tools.definition import ToolDefinition
from tools.drafts import drafts
from tools.errors import SecretUnavailable, ToolRegistrationError
from tools.veil import SHORTEST_SECRET, Veil

MODULE = "tests.secret_tools"
SECRET = "sk_live_4eC39Hq/Lyj+WDarjtT1zdp7dc='\"\\ü€"
HANDY = "sk_live_4eC39HqLyjWDarjtT1zdp7dc"

Keepers = Mapping[str, ToolDefinition]


@pytest.fixture(scope="module")
def secret_workshop() -> Iterator[Workshop]:
    """Real processes with the tools that are given secrets."""
    made = Workshop("tools.running:run", [MODULE])
    yield made
    made.close()


@pytest.fixture
def keepers(
    bench: Bench, secret_workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Keepers]:
    """Those tools as they are defined, in a process that holds the secret."""
    monkeypatch.setenv(NAME, SECRET)
    monkeypatch.setattr(workshops, "workshop", lambda: secret_workshop)
    sys.modules.pop(MODULE, None)
    importlib.import_module(MODULE)
    read = registry.load(())
    assert read.problems == []
    yield read.tools
    drafts.clear()


def run(tool: ToolDefinition, **options: Any) -> Any:
    """Run it once with no arguments."""
    return workshops.run_tool(tool, options.pop("arguments", {}), fresh=True, **options)


# Names.


@pytest.mark.feature("X9", "TD3")
@pytest.mark.parametrize("name", ["STRIPE_KEY", "A", "K2", "A" * 64, "GITHUB_TOKEN", "PGP_KEY"])
def test_a_secret_is_called_like_a_variable(bench: Bench, name: str) -> None:
    @tool
    @secrets(name)
    def keeps() -> None:
        """Keep."""

    assert bench.build(keeps).secrets == (name,)


@pytest.mark.feature("X9", "TD3")
@pytest.mark.parametrize(
    "name",
    [
        "stripe", "", "1KEY", "_KEY", "MY-KEY", "MY KEY", "KEY\n", "KÉY", "A" * 65, "STRIPE_FILE",
        "SECRET_KEY", "DATABASE_URL", "REDIS_URL", "RAMPART_API_KEY", "OIDC_RP_CLIENT_SECRET",
        "EMAIL_HOST_PASSWORD", "CELERY_BROKER_URL", "DJANGO_SETTINGS_MODULE", "PATH", "HOME",
        "LANG", "LC_ALL", "TZ", "LD_PRELOAD", "PYTHONPATH", "PGPASSWORD",
    ],
)  # fmt: skip
def test_a_name_that_means_something_else_stops_the_start(name: str) -> None:
    with pytest.raises(ToolRegistrationError, match="secret"):
        secrets(name)


@pytest.mark.feature("X9")
def test_no_setting_of_ours_may_be_a_secret_of_a_tool() -> None:
    read = re.findall(
        r'_(?:config|env)\.\w+\(\s*"(\w+)"', (ROOT / "rampart/settings.py").read_text()
    )
    assert {"SECRET_KEY", "REDIS_URL", "RAMPART_PORT", "EMAIL_HOST"} <= set(read)
    for name in read:
        with pytest.raises(ToolRegistrationError):
            secrets(name)


# Reading them.


@pytest.mark.feature("X9")
def test_a_tool_has_exactly_its_secret_in_its_environment(keepers: Keepers) -> None:
    outcome = run(keepers["shows_that_it_has_it"])
    assert outcome.data["digest"] == digest_of(SECRET)
    harmless = {"PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ"}
    assert set(outcome.data["environment"]) - harmless == {NAME}


@pytest.mark.feature("X9")
def test_another_tool_in_the_same_workshop_has_none(keepers: Keepers) -> None:
    run(keepers["shows_that_it_has_it"])
    assert NAME not in run(keepers["is_given_none"]).data


@pytest.mark.feature("X9", "E4")
def test_a_file_is_read_anew_at_each_run(
    keepers: Keepers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    monkeypatch.delenv(NAME)
    monkeypatch.setenv(f"{NAME}_FILE", str(file))
    for rotated in ("the first of the keys", "the second of the keys"):
        file.write_text(f"{rotated}\n")
        assert run(keepers["shows_that_it_has_it"]).data["digest"] == digest_of(rotated)


Surroundings = Callable[[pytest.MonkeyPatch, Path], None]


def _unset(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.delenv(NAME)


def _set_to(value: str) -> Surroundings:
    return lambda monkeypatch, folder: monkeypatch.setenv(NAME, value)


def _filed(content: bytes | None) -> Surroundings:
    def arrange(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        monkeypatch.delenv(NAME)
        monkeypatch.setenv(f"{NAME}_FILE", str(folder / "key"))
        if content is not None:
            (folder / "key").write_bytes(content)

    return arrange


def _piped(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    _filed(None)(monkeypatch, folder)
    os.mkfifo(folder / "key")


def _endless(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    _filed(b"")(monkeypatch, folder)
    os.truncate(folder / "key", 2**40)


def _twice(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv(f"{NAME}_FILE", str(folder / "key"))


UNAVAILABLE: list[tuple[str, Surroundings, str]] = [
    ("unset", _unset, "STRIPE_KEY is not here"),
    ("empty", _set_to(""), "STRIPE_KEY is not here"),
    ("too short", _set_to("1234567"), "STRIPE_KEY is shorter than 8 characters"),
    ("short and padded", _set_to("  1234567 "), "STRIPE_KEY is shorter than 8 characters"),
    ("too long", _set_to("x" * 32_769), "STRIPE_KEY is longer than 32768 characters"),
    ("not UTF-8", _set_to("\udcff" * 20), "STRIPE_KEY is no text in UTF-8"),
    ("no file", _filed(None), "STRIPE_KEY_FILE: No such file or directory"),
    ("an empty file", _filed(b"\n"), "STRIPE_KEY is not here"),
    ("a file of bytes", _filed(b"\xff" * 20), "the file is not text in UTF-8"),
    ("a file with a NUL", _filed(b"12345678\x0090"), "STRIPE_KEY is no text in UTF-8"),
    ("a pipe that nobody fills", _piped, "STRIPE_KEY_FILE: not a regular file"),
    ("a file without end", _endless, "STRIPE_KEY_FILE: the file is longer than 1048576 characters"),
    ("both", _twice, "STRIPE_KEY and STRIPE_KEY_FILE are both set"),
]


@pytest.mark.feature("X9")
@pytest.mark.parametrize(
    ("arrange", "said"), [pytest.param(*how, id=what) for what, *how in UNAVAILABLE]
)
def test_without_its_secret_nothing_is_run_and_the_reason_does_not_show_it(
    keepers: Keepers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arrange: Surroundings,
    said: str,
) -> None:
    arrange(monkeypatch, tmp_path)
    with pytest.raises(SecretUnavailable) as refused:
        run(keepers["shows_that_it_has_it"])
    assert said in str(refused.value)
    assert "1234567" not in str(refused.value)
    assert [tool.name for tool, _ in secrecy.lacking()].count("shows_that_it_has_it") == 1


@pytest.mark.feature("X9")
def test_what_is_for_tools_is_known_by_name(keepers: Keepers) -> None:
    expected = {"STRIPE_KEY", "STRIPE_KEY_FILE", "NEVER_SET_KEY", "NEVER_SET_KEY_FILE"}
    assert secrecy.variables() == expected


# What comes back.


@pytest.mark.feature("X9", "U4")
def test_no_form_of_it_is_in_the_result(keepers: Keepers) -> None:
    told: list[Any] = []
    outcome = run(keepers["gives_it_away"], on_progress=told.append)
    assert told == [{"using": REDACTED}]
    shown = outcome.data
    assert len(shown) == 13
    for how, text in shown.items():
        assert REDACTED in json.dumps(text), how
    assert shown["in a text"] == f"POST /v1/charges key={REDACTED}&amount=5"
    assert shown["in a list"] == [[{"deep": REDACTED}]]
    assert shown["key"] == {REDACTED: 1, f"{REDACTED}/1": 2}
    assert shown["url"] == f"https://example.org/?key={REDACTED}"
    assert parts_of(SECRET, json.dumps(shown)) == []


@pytest.mark.feature("X9", "U4", "X8")
def test_no_form_of_it_is_in_an_error_even_where_the_message_is_cut_off(keepers: Keepers) -> None:
    outcome = run(keepers["fails_with_it"])
    assert outcome.status == "error"
    assert outcome.error_type == f"No{REDACTED}"
    assert outcome.error.startswith("refused: ")
    assert outcome.error.endswith(REDACTED)
    assert parts_of(SECRET, outcome.error) == []


def parts_of(secret: str, text: str) -> list[str]:
    """Stretches of the secret, eight characters long, that stand in the text."""
    pieces = (secret[start : start + 8] for start in range(len(secret) - 7))
    return [piece for piece in pieces if piece in text]


SECRETS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=8, max_size=40).filter(
    lambda text: len(text.strip()) >= SHORTEST_SECRET
)


@pytest.mark.feature("X9", "U4")
@given(secret=SECRETS, before=st.binary(max_size=5), after=st.binary(max_size=5))
@example(secret="12345678", before=b"", after=b"")
@example(secret="REDACTED]", before=b"a", after=b"b")
def test_base64_shows_nothing_of_it_wherever_in_it_the_secret_begins(
    secret: str, before: bytes, after: bytes
) -> None:
    """What is left may be another text of the same length: no bit of it is the secret's."""
    whole = before + secret.strip().encode() + after
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        shown = Veil.over([secret]).text(encode(whole).decode())
        assert REDACTED in shown
        kept = shown.partition(REDACTED)
        assert len(kept[0]) * 6 <= len(before) * 8
        assert len(kept[2].rstrip("=")) * 6 <= len(after) * 8 + 4


@pytest.mark.feature("X9", "U4")
@given(secret=SECRETS, around=st.text(max_size=6))
@example(secret="aaaaaaaa", around="a")
def test_no_plain_form_of_it_is_left(secret: str, around: str) -> None:
    veil, bare = Veil.over([secret]), secret.strip()
    for form in (bare, json.dumps(bare)[1:-1], repr(bare)[1:-1], quote(bare), bare.encode().hex()):
        shown = veil.text(around + form + around)
        assert form not in shown.replace(REDACTED, "\0")
        assert len(shown.replace(REDACTED, "")) <= 2 * len(around)


@pytest.mark.feature("X9", "U4")
def test_secrets_that_overlap_or_hold_one_another_are_hidden_whole() -> None:
    veil = Veil.over(["abcdefghij", "ghijklmnop", "cdefghij", "REDACTED"])
    assert veil.text("<abcdefghijklmnop>") == f"<{REDACTED}>"
    assert veil.text("x cdefghij y") == f"x {REDACTED} y"
    assert veil.text("REDACTED") == REDACTED


@pytest.mark.feature("X9", "U4")
@pytest.mark.parametrize("between", ["\r\n", "", "\n    "])
def test_the_lines_of_a_secret_are_hidden_however_they_are_joined(between: str) -> None:
    lines = [base64.b64encode(bytes([number]) * 48).decode() for number in range(12)]
    key = "\n".join(["-----BEGIN PRIVATE KEY-----", *lines, "-----END PRIVATE KEY-----", ""])
    shown = Veil.over([key]).text(key.replace("\n", between))
    assert [line for line in lines if line in shown] == []
    assert shown.startswith("-----BEGIN PRIVATE KEY-----")


@pytest.mark.feature("X9", "U4")
def test_a_page_s_text_hides_it_with_and_without_quotes_escaped() -> None:
    secret = "sk_<live>&'4eC39Hq"
    veil = Veil.over([secret])
    for quoted in (True, False):
        assert veil.text(f"<p>{escape(secret, quote=quoted)}</p>") == f"<p>{REDACTED}</p>"


@pytest.mark.feature("X9", "U4")
def test_a_secret_of_digits_is_hidden_as_a_number_too() -> None:
    assert Veil.over(["4929000077317731"])([4929000077317731, 5, True, None, 1.5]) == [
        REDACTED, 5, True, None, 1.5,
    ]  # fmt: skip


@pytest.mark.feature("X9")
def test_what_holds_no_secret_comes_back_as_it_was() -> None:
    value = {"a": [1, 2.5, None, True, "\0\ud800", {"": "sk_live"}], "sk_live_4eC39": "x" * 5000}
    assert Veil.over([HANDY])(value) == value


@pytest.mark.feature("X9")
def test_a_result_nested_too_deep_to_look_through_is_hidden_and_does_no_harm() -> None:
    value: Any = HANDY
    for _ in range(900):
        value = [value]
    assert HANDY not in json.dumps(Veil.over([HANDY])(value))
    assert Veil.over([])(value) == value


# Through the pipeline.


@pytest.fixture
def keeper(keepers: Keepers, make_agent: MakeAgent) -> Agent:
    """An agent that may call them."""
    catalogue.sync(by="test")
    return make_agent("keeper", ("kit.secrets",))


@pytest.mark.django_db
@pytest.mark.feature("X9")
def test_a_read_only_tool_with_a_secret_never_runs_in_the_web_process(keeper: Agent) -> None:
    answer = keeper.invoke("reads_with_it")
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    assert not pipeline._runs_inline(registry.find("reads_with_it"))
    work()
    keeper.invoke("reads_with_it")
    work()
    first, second = Invocation.objects.filter(tool_name="reads_with_it")
    assert first.status == second.status == "success"
    assert first.result != second.result


@pytest.mark.django_db
@pytest.mark.feature("X9")
def test_a_read_only_tool_with_a_secret_is_given_no_warm_process(keepers: Keepers) -> None:
    pids = {
        workshops.run_tool(keepers["reads_with_it"], {}, fresh=False).data for _ in range(2)
    }  # fmt: skip
    assert len(pids) == 2


@pytest.mark.django_db
@pytest.mark.feature("X9")
def test_a_call_without_its_secret_ends_as_not_run_and_is_not_tried_again(
    keeper: Agent, tmp_path: Path
) -> None:
    keeper.invoke("lacks_it", path=str(tmp_path / "ran"))
    work()
    row = Invocation.objects.get(tool_name="lacks_it")
    assert (row.status, row.error_type, row.attempts) == ("killed", "SecretUnavailable", 0)
    assert row.error == "nothing was run: the secret NEVER_SET_KEY is not here"
    assert not (tmp_path / "ran").exists()


@pytest.mark.django_db
@pytest.mark.feature("X9")
def test_whoever_decides_sees_what_the_call_would_be_given_and_no_value(
    keeper: Agent, reviewer: User
) -> None:
    keeper.invoke("waits_with_it", path="/nowhere", go="/nowhere")
    approval = Approval.objects.get()
    page = browser(reviewer).get(f"/admin/approvals/approval/{approval.pk}/change/")
    assert f"is given {NAME}" in page.content.decode()
    assert parts_of(SECRET, page.content.decode()) == []


@pytest.mark.django_db
@pytest.mark.feature("X9")
@pytest.mark.parametrize(
    ("granted", "said"),
    [
        ({"network": False}, "jailed: reaches nothing"),
        (
            {"network": True, "read": ["/srv/a", "/srv/b"], "write": ["/srv/c"]},
            "jailed: network, reads /srv/a, reads /srv/b, writes /srv/c",
        ),
    ],
)
def test_whoever_decides_sees_what_the_call_could_reach(
    bench: Bench, make_agent: MakeAgent, reviewer: User, granted: dict[str, Any], said: str
) -> None:
    @tool
    @require_approval
    @isolated_process(**granted)
    def reach() -> None:
        """Reach."""

    assert bench.registry().problems == []
    catalogue.sync(by="test")
    make_agent("reacher", ("*",)).invoke("reach")
    address = f"/admin/approvals/approval/{Approval.objects.get().pk}/change/"
    assert said in browser(reviewer).get(address).content.decode()
    drafts[0].grants = Grants(read=("/srv/d",))  # Another version: this call will never run.
    bench.registry()
    assert "jailed:" not in browser(reviewer).get(address).content.decode()


# Who holds them.


HOLDER = """
import ctypes, logging, os, django
django.setup()
from celery.signals import celeryd_init
celeryd_init.send(None, instance=None, conf=None, options={"queues": QUEUES})
print("dumpable", ctypes.CDLL(None).prctl(3), os.environ.get("STRIPE_KEY"))
"""


@pytest.mark.feature("X9")
@pytest.mark.parametrize(
    ("queues", "is_told"), [(["default"], True), (None, True), (["destructive"], False)]
)
def test_a_worker_is_closed_to_others_and_names_what_it_lacks_of_its_queues(
    tmp_path: Path, queues: list[str] | None, is_told: bool
) -> None:
    done = Deployment(
        tmp_path, RAMPART_TOOL_MODULES=MODULE, STRIPE_KEY=HANDY, DATABASE_URL="",
        DJANGO_SETTINGS_MODULE="rampart.settings",
    ).python("-c", HOLDER.replace("QUEUES", repr(queues)))  # fmt: skip
    assert done.stdout == f"dumpable 0 {HANDY}\n", done.stderr
    assert ("lacks_it can't be run here" in done.stderr) is is_told
    assert "shows_that_it_has_it" not in done.stderr


@pytest.mark.feature("X9")
def test_a_web_process_started_with_it_forgets_it_wherever_it_came_from(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, RAMPART_TOOL_MODULES=MODULE, STRIPE_KEY_FILE="/a/file")
    with (tmp_path / "secrets.env").open("a") as file:
        file.write(f"NEVER_SET_KEY={HANDY}\n")
    deployment.manage("migrate", "--verbosity", "0")
    done = deployment.python(
        "-c", "import os, rampart.wsgi; print(sorted(name for name in os.environ if 'KEY' in name))"
    )
    kept = ["RAMPART_ARGUMENT_KEYS", "RAMPART_CHECKPOINT_KEY", "SECRET_KEY"]
    assert done.stdout == f"{kept}\n", done.stderr


@pytest.mark.django_db
@pytest.mark.feature("X9", "U4")
def test_neither_the_caller_nor_the_ledger_reads_it(keeper: Agent) -> None:
    for name in ("gives_it_away", "fails_with_it"):
        answer = keeper.invoke(name).json()
        work()
        raw = keeper.get(f"invocations/{answer['invocation_id']}").content.decode()
        assert REDACTED in raw
        assert parts_of(SECRET, raw) == [], raw
    told = json.dumps(list(Event.objects.values("result", "error", "metadata")), default=str)
    assert REDACTED in told
    assert parts_of(SECRET, told) == []
