"""What people wish for themselves, the ready-made reasons, and times that can be trusted."""

from datetime import datetime, timedelta, timezone

import pytest
from django.contrib.auth.models import Permission, User

from approvals.desk.wishes import wishes_of
from approvals.models import MOST_PRESETS, Preset, Wishes
from audit.models import Event
from audit.windows import exactly, when
from tests.admin.conftest import browser

pytestmark = pytest.mark.django_db

PAGE = "/admin/wishes/"
PRESETS = "/admin/approvals/preset/"
WISHED = {"mail": "digest", "mail_least_risk": "3", "clock": "local"}


def with_permissions(person: User, *codenames: str) -> User:
    person.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return User.objects.get(pk=person.pk)


# Wishes.


@pytest.mark.feature("E24")
def test_a_person_says_how_the_desk_is_to_be(stranger: User) -> None:
    client = browser(stranger)
    assert client.post(PAGE, WISHED).status_code == 302
    kept = Wishes.objects.get(person=stranger)
    assert (kept.mail, kept.mail_least_risk, kept.clock, kept.has_keys) == (
        "digest", 3, "local", False,
    )  # fmt: skip
    client.post(PAGE, {"mail": "off", "mail_least_risk": "1", "clock": "utc", "has_keys": "on"})
    kept.refresh_from_db()
    assert (kept.mail, kept.clock, kept.has_keys) == ("off", "utc", True)
    assert Wishes.objects.count() == 1


def test_looking_at_ones_wishes_keeps_nothing(stranger: User) -> None:
    shown = browser(stranger).get(PAGE)
    assert shown.status_code == 200
    assert shown.context["form"].initial["clock"] == "utc"
    assert Wishes.objects.count() == 0


def test_nobody_sets_anybody_elses(stranger: User, reviewer: User) -> None:
    Wishes.objects.create(person=reviewer, mail="off")
    given = {**WISHED, "person": reviewer.pk, "id": Wishes.objects.get().pk}
    browser(stranger).post(PAGE, given)
    browser(stranger).post(f"{PAGE}?person={reviewer.pk}", given)
    assert Wishes.objects.get(person=reviewer).mail == "off"
    assert Wishes.objects.get(person=stranger).mail == "digest"
    assert browser(stranger).get(f"{PAGE}{reviewer.pk}/").status_code in (302, 404)


def test_wishes_need_a_session_and_a_csrf_token(stranger: User) -> None:
    assert browser().post(PAGE, WISHED)["Location"].startswith("/admin/login/")
    assert browser(stranger, strict=True).post(PAGE, WISHED).status_code == 403
    assert Wishes.objects.count() == 0


@pytest.mark.parametrize(
    "wrong", [{"mail": "daily"}, {"mail_least_risk": "9"}, {"clock": "Mars"}, {"clock": ""}]
)
def test_what_cannot_be_wished_is_refused(wrong: dict[str, str], stranger: User) -> None:
    answer = browser(stranger).post(PAGE, {**WISHED, **wrong})
    assert answer.status_code == 422
    assert b'class="errorlist"' in answer.content
    assert Wishes.objects.count() == 0


def test_who_has_said_nothing_has_the_defaults(stranger: User) -> None:
    assert (wishes_of(stranger).mail, wishes_of(stranger).clock) == ("at_once", "utc")
    assert Wishes.objects.count() == 0


def test_each_page_leads_to_the_wishes(stranger: User) -> None:
    assert f'href="{PAGE}"' in browser(stranger).get("/admin/").content.decode()


# Reasons to reject.


@pytest.mark.feature("E17")
def test_a_reason_is_written_changed_and_taken_away_and_each_is_told(superuser: User) -> None:
    client = browser(superuser)
    given = {"label": "No invoice", "text": "Attach the invoice.", "position": "1"}
    client.post(f"{PRESETS}add/", given)
    preset = Preset.objects.get()
    client.post(f"{PRESETS}{preset.pk}/change/", {**given, "text": "Attach the invoice, please."})
    assert "invoice, please." in client.get(PRESETS).content.decode()
    client.post(f"{PRESETS}{preset.pk}/delete/", {"post": "yes"})
    assert not Preset.objects.exists()
    told = Event.objects.filter(event="admin:edited").order_by("id")
    assert [(line.actor, line.reason, line.metadata["row"]) for line in told] == [
        ("root", "added", "No invoice"),
        ("root", "changed", "No invoice"),
        ("root", "deleted", "No invoice"),
    ]
    assert told[1].metadata["before"] == {"text": "Attach the invoice."}
    assert told[1].metadata["after"] == {"text": "Attach the invoice, please."}


@pytest.mark.feature("E17")
def test_there_are_at_most_six_reasons(superuser: User) -> None:
    client = browser(superuser)
    for number in range(MOST_PRESETS + 1):
        answer = client.post(
            f"{PRESETS}add/", {"label": f"Reason {number}", "text": "No.", "position": number}
        )
    assert "At most 6 are offered" in answer.content.decode()
    assert Preset.objects.count() == MOST_PRESETS == 6
    last = Preset.objects.latest("pk")
    changed = {"label": "Another", "text": "No.", "position": "1"}
    assert client.post(f"{PRESETS}{last.pk}/change/", changed).status_code == 302


@pytest.mark.feature("E17")
def test_a_reason_is_no_essay(superuser: User) -> None:
    given = {"label": "Long", "text": "a" * 1001, "position": "1"}
    assert browser(superuser).post(f"{PRESETS}add/", given).status_code == 200
    assert not Preset.objects.exists()


@pytest.mark.feature("E17", "V2")
def test_reasons_are_kept_by_those_who_hold_the_permission(stranger: User) -> None:
    preset = Preset.objects.create(label="No", text="No.")
    given = {"label": "Yes", "text": "Yes.", "position": "1"}
    for codenames, status in (((), 403), (("view_preset",), 403), (("change_preset",), 302)):
        client = browser(with_permissions(stranger, *codenames))
        assert client.post(f"{PRESETS}{preset.pk}/change/", given).status_code == status
        assert client.post(f"{PRESETS}add/", {**given, "label": "More"}).status_code == 403
    preset.refresh_from_db()
    assert (preset.label, Preset.objects.count()) == ("Yes", 1)


@pytest.mark.feature("E17", "V6")
def test_hidden_characters_of_a_reason_show_in_the_list(superuser: User) -> None:
    Preset.objects.create(label="Odd", text="pay\u202enow<b>")
    page = browser(superuser).get(PRESETS).content.decode()
    assert "\u202e" not in page and "<b>" not in page
    assert "RIGHT-TO-LEFT OVERRIDE" in page


# Times.


@pytest.mark.feature("E24")
def test_a_time_is_relative_to_read_and_exact_in_iso_8601() -> None:
    moment = datetime(2026, 5, 1, 23, 30, 5, tzinfo=timezone(timedelta(hours=2)))
    iso = "2026-05-01T21:30:05Z"
    assert when(moment).startswith(f'<time datetime="{iso}" title="{iso}">')
    assert " ago</time>" in when(moment)
    assert exactly(moment).endswith(
        f'<time class="kind exact" datetime="{iso}">2026-05-01 21:30:05 UTC</time>'
    )
    assert (when(None), exactly(None)) == ("–", "–")


@pytest.mark.feature("E24")
def test_only_who_wishes_it_gets_the_browsers_zone(stranger: User) -> None:
    client = browser(stranger)
    page = client.get("/admin/").content.decode()
    assert "Exact times are in <span data-zone>UTC</span>" in page and "times.js" not in page
    client.post(PAGE, WISHED)
    page = client.get("/admin/").content.decode()
    assert "rampart/times.js" in page
    assert "Exact times are in <span data-zone>UTC</span>" in page, "until the script says more"
    assert "times.js" not in browser().get("/admin/login/").content.decode()
