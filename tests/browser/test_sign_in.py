"""People at browsers, a provider as a process of its own: oidc-provider-mock, and one that lies."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Request

from tests import oidc_provider, servers
from tests.browser.conftest import REVIEWER, Seat
from tests.oidc_provider import Provider
from tests.stack import Stack, until

pytestmark = [pytest.mark.browser, pytest.mark.stack, pytest.mark.feature("E10")]

PHONE = {"width": 360, "height": 740}
LIST = "/admin/approvals/approval/"
GROUPS = {"RAMPART_OIDC_GROUPS": "ops=Reviewers,watch=Watchers", "RAMPART_OIDC_NAME": "Acme ID"}
POLICY = (
    "document.addEventListener('securitypolicyviolation',"
    " event => console.error('policy: ' + event.blockedURI + ' ' + event.violatedDirective))"
)


@dataclass
class Mock:
    """oidc-provider-mock: it takes whoever it is told of, without a password."""

    issuer: str

    @property
    def settings(self) -> dict[str, str]:
        return {
            "OIDC_OP_ISSUER": self.issuer,
            "OIDC_OP_AUTHORIZATION_ENDPOINT": f"{self.issuer}/oauth2/authorize",
            "OIDC_OP_TOKEN_ENDPOINT": f"{self.issuer}/oauth2/token",
            "OIDC_OP_USER_ENDPOINT": f"{self.issuer}/userinfo",
            "OIDC_OP_JWKS_ENDPOINT": f"{self.issuer}/jwks",
            "OIDC_OP_END_SESSION_ENDPOINT": f"{self.issuer}/oauth2/end_session",
            "OIDC_RP_CLIENT_ID": "rampart",
            "OIDC_RP_CLIENT_SECRET": "any-secret-will-do",
        }

    def person(self, sub: str, *groups: str) -> None:
        """Somebody, with these groups from now on."""
        claims = {"preferred_username": sub, "email": f"{sub}@example.org", "groups": groups}
        requests.put(f"{self.issuer}/users/{sub}", json=claims, timeout=10).raise_for_status()

    def answers(self) -> bool:
        try:
            return requests.get(f"{self.issuer}/jwks", timeout=2).ok
        except requests.RequestException:
            return False


@pytest.fixture(scope="module")
def mock() -> Iterator[Mock]:
    """A process, since its library warns of itself."""
    port = servers.free_port()
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port)]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=os.environ, start_new_session=True, **quiet)
    started = Mock(f"http://127.0.0.1:{port}")
    try:
        until(started.answers)
        yield started
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def liar() -> Iterator[Provider]:
    """The tests' own provider."""
    with oidc_provider.running() as started:
        yield started


def deployed(**settings: str) -> Iterator[Stack]:
    """A web server whose reviewers are a group."""
    with tempfile.TemporaryDirectory(prefix="rampart-stack-") as folder:
        stack = Stack(Path(folder), **GROUPS, **settings)
        try:
            stack.prepare()
            stack.python(
                "from django.contrib.auth.models import Group, Permission\n"
                "Group.objects.create(name='Watchers')\n"
                "Group.objects.create(name='Reviewers').permissions.set("
                f"Permission.objects.filter(codename__in={REVIEWER!r}))"
            )
            stack.start("web")
            yield stack
        finally:
            stack.stop()


@pytest.fixture(scope="module")
def stack(mock: Mock) -> Iterator[Stack]:
    """Passwords and the mock."""
    yield from deployed(**mock.settings)


@pytest.fixture(scope="module")
def strict_stack(liar: Provider) -> Iterator[Stack]:
    """The other provider, and no passwords."""
    yield from deployed(RAMPART_PASSWORD_SIGN_IN="off", **liar.settings)


@dataclass
class Guest(Seat):
    """A person whose browser may also go to the provider."""

    provider: str = ""
    shown: list[str] = field(default_factory=list)

    def _request(self, request: Request) -> None:
        if not request.url.startswith((self.base_url, self.provider, "data:")):
            self.strayed.append(request.url)

    def press_link(self, name: str) -> None:
        self.press(self.page.get_by_role("link", name=name))

    def at_the_mock(self, sub: str) -> None:
        """Type one's name there and agree."""
        self.page.get_by_placeholder("sub").fill(sub)
        self.press(self.button("Authorize"))

    def come_in(self, sub: str, path: str = "/admin/") -> None:
        self.open(path)
        self.press_link("Sign in with Acme ID")
        self.at_the_mock(sub)

    def is_in(self) -> bool:
        return bool(self.page.locator("#logout-form").count() == 1)


@pytest.fixture
def invite(chromium: Browser) -> Iterator[Any]:
    """Opens browsers; in the end none has complained, nor strayed to a third place."""
    guests: list[Guest] = []

    def take(stack: Stack, provider: Mock | Provider, **options: Any) -> Guest:
        context = chromium.new_context(**options)
        context.set_default_timeout(15_000)
        context.route("https://cdn.jsdelivr.net/**", lambda route: route.abort())
        page = context.new_page()
        page.add_init_script(POLICY)
        guest = Guest(page, stack.base_url, provider=provider.issuer)
        guest.watch()
        guests.append(guest)
        return guest

    yield take
    for guest in guests:
        guest.page.context.close()
        assert [text for text in guest.complaints if "policy" in text] == []
        assert [url for url in guest.strayed if "cdn.jsdelivr.net" not in url] == []


def ledger(stack: Stack, actor: str) -> list[tuple[str, str]]:
    """The lines about a person, oldest first."""
    code = (
        "from audit.models import Event\n"
        "for one in Event.objects.filter(event__startswith='person:').order_by('id'):\n"
        "    print(one.actor, one.event, one.reason, sep='|')"
    )
    lines = [line.split("|") for line in stack.python(code).splitlines() if "|" in line]
    return [(event, reason) for who, event, reason in lines if who == actor]


def hold(stack: Stack, key: str, amount: int) -> str:
    answer = stack.invoke(
        "refund_payment", key, prefer="respond-async", order_id="A-1001", amount=amount
    )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["approval_id"])


@pytest.mark.feature("E10", "I8")
def test_whoever_comes_with_the_group_decides(stack: Stack, mock: Mock, invite: Any) -> None:
    approval = hold(stack, stack.new_key("shop-agent"), 1501)
    mock.person("ada", "ops")
    ada = invite(stack, mock)
    ada.come_in("ada", f"{LIST}{approval}/change/")
    ada.press(ada.button("Approve and run"))
    assert ada.page.get_by_text("Approved: shop-agent wants to refund").is_visible()
    assert [event for event, _ in ledger(stack, "ada")] == [
        "person:enrolled", "person:regrouped", "person:signed-in",
    ]  # fmt: skip


def test_whoever_comes_with_another_group_may_not(stack: Stack, mock: Mock, invite: Any) -> None:
    approval = hold(stack, stack.new_key("shop-agent"), 1502)
    mock.person("wim", "watch")
    wim = invite(stack, mock)
    wim.come_in("wim", f"{LIST}{approval}/change/")
    assert wim.page.get_by_text("You may not do this").is_visible()
    wim.open("/admin/")
    assert wim.is_in()


def test_whoever_has_lost_the_group_is_shown_out_with_a_sentence(
    stack: Stack, mock: Mock, invite: Any
) -> None:
    mock.person("leo", "ops")
    here, phone = invite(stack, mock), invite(stack, mock, viewport=PHONE, color_scheme="dark")
    here.come_in("leo")
    assert here.is_in()
    mock.person("leo")
    phone.come_in("leo")
    assert phone.page.get_by_text("You are in none of the groups that may come in").is_visible()
    assert not phone.scrolls_sideways()
    assert phone.answers["/oidc/callback/"] == 403
    here.open("/admin/")
    assert not here.is_in()
    assert ledger(stack, "leo")[-1] == ("person:refused", "no_group")


def test_going_back_to_the_providers_answer_is_not_a_second_sign_in(
    stack: Stack, mock: Mock, invite: Any
) -> None:
    mock.person("ria", "ops")
    ria = invite(stack, mock)
    answers: list[str] = []
    ria.page.on("request", lambda one: answers.append(one.url) if "code=" in one.url else None)
    ria.come_in("ria")
    (spent,) = answers
    other = invite(stack, mock)
    for guest in (ria, other):
        guest.page.goto(spent)
        assert guest.page.get_by_text("This sign-in was not begun in this browser").is_visible()
        assert guest.answers["/oidc/callback/"] == 400
    other.open("/admin/")
    assert not other.is_in()


def test_a_name_that_somebody_has_is_not_their_account(
    stack: Stack, mock: Mock, invite: Any
) -> None:
    stack.new_person("boss", *REVIEWER)
    mock.person("boss", "watch")
    stranger = invite(stack, mock)
    stranger.come_in("boss")
    assert stranger.page.locator("#user-tools strong").text_content() == "boss-2"
    stranger.open(LIST)
    assert stranger.page.get_by_text("You may not do this").is_visible()


def test_signing_out_here_offers_signing_out_there(stack: Stack, mock: Mock, invite: Any) -> None:
    mock.person("pia", "ops")
    pia = invite(stack, mock)
    pia.come_in("pia")
    session = next(one for one in pia.page.context.cookies() if one["name"] == "sessionid")
    pia.press(pia.button("Log out"))
    assert pia.page.get_by_text("You are signed out").is_visible()
    pia.page.context.add_cookies([session])
    pia.open("/admin/")
    assert not pia.is_in(), "the session is gone on the server, not in the browser alone"
    pia.page.context.clear_cookies()
    pia.come_in("pia")
    pia.press(pia.button("Log out"))
    pia.press_link("Sign out of Acme ID as well")
    pia.press(pia.button("End session"))
    assert pia.page.url == f"{stack.base_url}/admin/login/"
    assert ledger(stack, "pia")[-1] == ("person:signed-out", "")


@pytest.mark.feature("AP17")
def test_a_proof_is_given_at_the_provider(stack: Stack, mock: Mock, invite: Any) -> None:
    mock.person("eve", "ops")
    eve = invite(stack, mock, viewport=PHONE)
    eve.come_in("eve")
    eve.open(f"/admin/prove/?next={LIST}")
    assert not eve.scrolls_sideways()
    eve.press_link("Prove it by Acme ID")
    eve.at_the_mock("eve")
    assert eve.page.url == stack.base_url + LIST
    assert ledger(stack, "eve")[-1] == ("person:proved", "")
    mock.person("mal", "ops")
    eve.open("/admin/prove/")
    eve.press_link("Prove it by Acme ID")
    eve.at_the_mock("mal")
    assert eve.page.get_by_text("Somebody else signed in at the provider").is_visible()
    eve.open("/admin/")
    assert eve.page.locator("#user-tools strong").text_content() == "eve"
    assert ledger(stack, "eve")[-1] == ("person:refused", "another_person")


@pytest.mark.feature("AP17")
def test_a_proof_is_given_by_password(stack: Stack, mock: Mock, invite: Any) -> None:
    password = stack.new_person("otto", *REVIEWER)
    otto = invite(stack, mock)
    otto.sign_in("otto", password)
    otto.open(f"/admin/prove/?next={LIST}")
    otto.page.get_by_label("Password").fill("something else")
    otto.press(otto.button("Prove it"))
    assert otto.page.get_by_text("That is not your password.").is_visible()
    otto.page.get_by_label("Password").fill(password)
    otto.press(otto.button("Prove it"))
    assert otto.page.url == stack.base_url + LIST


def test_a_session_that_lies_idle_ends(stack: Stack, mock: Mock, invite: Any) -> None:
    mock.person("ivo", "ops")
    ivo = invite(stack, mock)
    ivo.come_in("ivo")
    stack.python(
        "from django.contrib.sessions.backends.db import SessionStore\n"
        "from django.contrib.auth.models import User\n"
        "from django.contrib.sessions.models import Session\n"
        "mine = str(User.objects.get(username='ivo').pk)\n"
        "for row in Session.objects.all():\n"
        "    store = SessionStore(row.pk)\n"
        "    if store.get('_auth_user_id') == mine:\n"
        "        store['seen_at'] -= 3600; store.save()"
    )
    ivo.open(LIST)
    assert not ivo.is_in()
    ivo.press_link("Sign in with Acme ID")
    ivo.at_the_mock("ivo")
    assert ivo.page.url == stack.base_url + LIST, "and the way leads back to where it was"
    assert ("person:signed-out", "idle") in ledger(stack, "ivo")


@pytest.mark.feature("E22", "V7")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_and_a_thumb(
    scheme: str, stack: Stack, mock: Mock, invite: Any
) -> None:
    mock.person("tom", "ops")
    tom = invite(stack, mock, viewport=PHONE, color_scheme=scheme, has_touch=True, is_mobile=True)
    tom.open("/admin/")
    assert not tom.scrolls_sideways()
    for target in tom.page.locator("main a, main input:not([type=hidden])").all():
        box = target.bounding_box()
        assert box is not None and min(box["height"], box["width"]) >= 24
    link = tom.page.get_by_role("link", name="Sign in with Acme ID")
    assert (link.bounding_box() or {"height": 0})["height"] >= 44
    tom.press(link, by_thumb=True)
    tom.at_the_mock("tom")
    assert tom.is_in()


def test_too_many_wrong_passwords_are_told_and_the_provider_is_still_a_way(
    stack: Stack, mock: Mock, invite: Any
) -> None:
    password = stack.new_person("gus", *REVIEWER)
    mock.person("gus-1", "ops")
    gus = invite(stack, mock)
    for _ in range(10):
        gus.open("/admin/login/")
        gus.page.get_by_label("Username").fill("gus")
        gus.page.get_by_label("Password").fill("wrong")
        gus.press(gus.button("Log in"))
    assert gus.page.get_by_text("Too many wrong passwords").is_visible()
    gus.open("/admin/login/")
    gus.page.get_by_label("Username").fill("gus")
    gus.page.get_by_label("Password").fill(password)
    gus.press(gus.button("Log in"))
    assert gus.answers["/admin/login/"] == 429
    gus.come_in("gus-1")
    assert gus.is_in()
    stack.manage("axes_reset")


# Without passwords, at a provider that lies.


def test_without_passwords_there_is_only_the_button(
    strict_stack: Stack, liar: Provider, invite: Any
) -> None:
    strict_stack.new_person("root", *REVIEWER)
    liar.control({"ada": {"preferred_username": "ada", "groups": ["ops"]}})
    ada = invite(strict_stack, liar)
    ada.open("/admin/")
    assert ada.page.locator("input[type=password], #login-form").count() == 0
    token = requests.get(f"{strict_stack.base_url}/admin/login/", timeout=10)
    assert "csrfmiddlewaretoken" not in token.text
    with pytest.raises((AssertionError, KeyError)):
        strict_stack.signed_in("root", "root-has-a-long-password")
    ada.press_link("Sign in with Acme ID")
    ada.press(ada.button("ada"))
    assert ada.is_in()
    assert ada.page.get_by_role("link", name="Change password").count() == 0


@pytest.mark.parametrize(
    ("twists", "status", "sentence"),
    [
        ({"claims": {"nonce": "another"}}, 403, "belongs to another sign-in"),
        ({"claims": {"aud": "another"}}, 403, "meant for another application"),
        ({"signature": "other"}, 403, "can't be verified"),
        ({"claims": {"exp": int(time.time()) - 600}}, 403, "too old"),
        ({"answers": {"/token": [500, "{}"]}}, 502, "does not answer as it should"),
    ],
)
def test_what_does_not_fit_together_ends_on_a_page(
    strict_stack: Stack,
    liar: Provider,
    invite: Any,
    twists: dict[str, Any],
    status: int,
    sentence: str,
) -> None:
    liar.control({"lou": {"groups": ["ops"]}}, **twists)
    lou = invite(strict_stack, liar, viewport=PHONE)
    lou.open("/admin/")
    lou.press_link("Sign in with Acme ID")
    lou.press(lou.button("lou"))
    assert lou.page.get_by_text(sentence).is_visible()
    assert lou.answers["/oidc/callback/"] == status
    assert not lou.scrolls_sideways()
    lou.press_link("Sign in another way, or again")
    assert not lou.is_in()
    assert "Traceback" not in strict_stack.log("web")


def test_refusing_at_the_provider_ends_on_a_page(
    strict_stack: Stack, liar: Provider, invite: Any
) -> None:
    liar.control({"zoe": {"groups": ["ops"]}})
    zoe = invite(strict_stack, liar)
    zoe.open("/admin/")
    zoe.press_link("Sign in with Acme ID")
    zoe.press(zoe.button("Refuse"))
    assert zoe.page.get_by_text("The provider was told not to let you in").is_visible()
    assert ("person:refused", "access_denied") in ledger(strict_stack, "unknown user")


@pytest.mark.feature("AP17")
def test_being_signed_in_at_the_provider_for_long_is_no_proof(
    strict_stack: Stack, liar: Provider, invite: Any
) -> None:
    """The provider is asked to ask again; if it does not say that it did, nothing is proved."""
    liar.control({"kim": {"preferred_username": "kim", "groups": ["ops"]}})
    kim = invite(strict_stack, liar)
    kim.open("/admin/")
    kim.press_link("Sign in with Acme ID")
    kim.press(kim.button("kim"))
    liar.control(claims={"auth_time": None})
    kim.open("/admin/prove/")
    kim.press_link("Prove it by Acme ID")
    (asked,) = [one["query"] for one in liar.asked("/authorize")]
    assert (asked["prompt"], asked["max_age"]) == ("login", "0")
    kim.press(kim.button("kim"))
    assert kim.page.get_by_text("does not say that you have proved yourself").is_visible()
    liar.control()
    kim.open("/admin/prove/")
    kim.press_link("Prove it by Acme ID")
    kim.press(kim.button("kim"))
    assert ledger(strict_stack, "kim")[-1] == ("person:proved", "")
    kim.press(kim.button("Log out"))
    kim.press_link("Sign out of Acme ID as well")
    kim.press_link("Back")
    assert kim.page.url == f"{strict_stack.base_url}/admin/login/"
