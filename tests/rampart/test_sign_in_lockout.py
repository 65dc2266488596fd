"""Wrong passwords: from one address not many, and never at the cost of somebody elsewhere."""

import itertools
from datetime import timedelta
from io import StringIO
from ipaddress import ip_network

import pytest
from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.apps import apps
from django.contrib.auth.models import User
from django.core import checks, serializers
from django.core.management import call_command
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from audit.events import EventName
from audit.models import Event
from rampart.passwords import counted_address
from tests.conftest import as_person

pytestmark = [pytest.mark.django_db, pytest.mark.feature("E10")]

HERE, THERE = "192.0.2.7", "192.0.2.8"
LIMIT = 10


def try_in(
    name: str, password: str, address: str = HERE, path: str = "/admin/login/", **headers: str
) -> HttpResponse:
    """One attempt with the form."""
    form = {"username": name, "password": password, "next": "/admin/"}
    answer: HttpResponse = Client().post(path, form, REMOTE_ADDR=address, **headers)
    return answer


def guess(times: int, name: str = "owner", address: str = HERE) -> list[int]:
    """The statuses of so many wrong passwords."""
    return [try_in(name, f"wrong-{number}", address).status_code for number in range(times)]


def told(event: EventName) -> list[Event]:
    return list(Event.objects.filter(event=event).order_by("id"))


def minutes_pass(minutes: float) -> None:
    """So much time passes; nobody waits for it."""
    for row in AccessAttempt.objects.all():
        earlier = row.attempt_time - timedelta(minutes=minutes)
        AccessAttempt.objects.filter(pk=row.pk).update(attempt_time=earlier)


def test_ten_wrong_passwords_lock_their_address(owner: User) -> None:
    assert guess(LIMIT) == [200] * (LIMIT - 1) + [429]
    answer = try_in("owner", "owner-password")
    assert answer.status_code == 429, "a right one is not looked at"
    assert 14 * 60 < int(answer["Retry-After"]) <= 15 * 60 + 1
    page = answer.content.decode()
    assert "not even a right one" in page and "15 minutes" in page
    assert "sessionid" not in answer.cookies


def test_the_lock_is_told_once_and_what_is_turned_away_is_not_told(owner: User) -> None:
    guess(LIMIT + 5)
    (line,) = told(EventName.LOCKED_OUT)
    assert (line.actor, line.metadata["address"]) == ("owner", HERE)
    assert [one.reason for one in told(EventName.SIGN_IN_REFUSED)] == ["bad_credentials"] * LIMIT


def test_names_are_no_matter(owner: User, stranger: User) -> None:
    for name in ("owner", "stranger", "nobody-here"):
        guess(3, name)
    assert try_in("stranger", "wrong").status_code == 429


def test_nobody_is_locked_out_by_guesses_from_elsewhere(owner: User) -> None:
    guess(LIMIT + 3, "owner", THERE)
    assert try_in("owner", "owner-password", HERE).status_code == 302


def test_the_lock_opens_by_itself_and_attempts_do_not_lengthen_it(owner: User) -> None:
    guess(LIMIT)
    minutes_pass(14)
    assert guess(3) == [429] * 3
    minutes_pass(1.1)
    assert try_in("owner", "owner-password").status_code == 302


def test_the_right_password_makes_up_for_the_wrong_ones(owner: User) -> None:
    guess(LIMIT - 1)
    assert try_in("owner", "owner-password").status_code == 302
    assert guess(LIMIT - 1) == [200] * (LIMIT - 1)


def test_a_password_of_ones_own_does_not_make_up_for_guessing_at_others(
    owner: User, stranger: User
) -> None:
    guess(LIMIT - 1, "owner")
    assert try_in("stranger", "stranger-password").status_code == 302
    assert guess(1, "owner") == [429]


def test_a_forged_header_is_no_other_address(owner: User) -> None:
    numbers = itertools.count(1)
    answers = [
        try_in("owner", "wrong", HTTP_X_FORWARDED_FOR=f"198.51.100.{next(numbers)}").status_code
        for _ in range(LIMIT)
    ]
    assert answers[-1] == 429


def test_behind_a_trusted_proxy_each_client_is_counted(owner: User, settings: Settings) -> None:
    settings.RAMPART_TRUSTED_PROXIES = [ip_network(f"{HERE}/32")]
    for _ in range(LIMIT):
        try_in("owner", "wrong", HTTP_X_FORWARDED_FOR="198.51.100.1")
    proxied = {"HTTP_X_FORWARDED_FOR": "198.51.100.2"}
    assert try_in("owner", "owner-password", **proxied).status_code == 302
    proxied = {"HTTP_X_FORWARDED_FOR": "198.51.100.1"}
    assert try_in("owner", "owner-password", **proxied).status_code == 429


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::9", "2001:db8:1:2::"),
        ("2001:db8:1:3::9", "2001:db8:1:3::"),
        ("unknown", None),
        ("", None),
    ],
)
def test_a_network_of_one_is_one(address: str, counted: str | None) -> None:
    request = Client().get("/api/v1/health", REMOTE_ADDR=address).wsgi_request  # type: ignore[attr-defined]
    assert counted_address(request) == counted


def test_an_address_that_is_none_is_counted_too(owner: User) -> None:
    answers = [try_in("owner", "wrong", "not-an-address").status_code for _ in range(LIMIT)]
    assert answers[-1] == 429
    assert try_in("owner", "owner-password").status_code == 302


def test_a_session_goes_on_while_its_address_is_locked(reviewer: User) -> None:
    client = as_person(reviewer)
    guess(LIMIT)
    assert client.get("/api/v1/approvals", REMOTE_ADDR=HERE).status_code == 200
    assert client.get("/admin/", REMOTE_ADDR=HERE).status_code == 200


def test_an_old_password_is_guessed_no_oftener(owner: User) -> None:
    client = Client(REMOTE_ADDR=HERE)
    client.force_login(owner)
    wrong = {"old_password": "wrong", "new_password1": "a-long-new-password",
             "new_password2": "a-long-new-password"}  # fmt: skip
    for _ in range(LIMIT):
        answer = client.post("/admin/password_change/", wrong)
    assert answer.status_code == 429
    right = {**wrong, "old_password": "owner-password"}
    assert client.post("/admin/password_change/", right).status_code == 429
    assert User.objects.get(pk=owner.pk).check_password("owner-password")


def test_nothing_that_was_typed_is_kept(owner: User) -> None:
    """In no table, whichever box somebody has typed their password into."""
    planted = "correct-horse-battery"
    try_in("owner", planted)
    try_in("owner", planted, HTTP_USER_AGENT="a browser")
    try_in(planted, "x")
    try_in(planted, planted, path=f"/admin/login/?next=/admin/&secret={planted}")
    Client().post("/admin/login/", {"username": "owner", "password": "x", "otp": planted})
    assert AccessAttempt.objects.exists()
    models = [model for model in apps.get_models() if model.__name__ != "User"]
    everything = serializers.serialize(
        "json", itertools.chain(*(model._base_manager.all() for model in models))
    )
    assert planted not in everything
    assert not AccessLog.objects.exists() and not AccessFailureLog.objects.exists()
    assert {row.username for row in AccessAttempt.objects.all()} == {"owner", "unknown user"}


def test_signing_in_is_not_kept_a_second_time(owner: User) -> None:
    try_in("owner", "owner-password")
    assert not AccessLog.objects.exists() and not AccessAttempt.objects.exists()


def test_an_operator_opens_the_lock_by_command(owner: User) -> None:
    guess(LIMIT)
    call_command("axes_reset_ip", HERE, stdout=StringIO())
    assert try_in("owner", "owner-password").status_code == 302
    guess(LIMIT)
    call_command("axes_reset", stdout=StringIO())
    assert try_in("owner", "owner-password").status_code == 302


def test_the_packages_own_checks_have_nothing_to_say() -> None:
    assert [one for one in checks.run_checks() if str(one.id).startswith("axes")] == []


def test_old_attempts_go_with_the_next_failure(owner: User) -> None:
    guess(2, address=THERE)
    minutes_pass(16)
    guess(1)
    assert {row.ip_address for row in AccessAttempt.objects.all()} == {HERE}
    assert AccessAttempt.objects.get().attempt_time > timezone.now() - timedelta(minutes=1)
