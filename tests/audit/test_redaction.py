"""What a tool marks as secret reaches no store, in whatever form it turns up."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from hypothesis import given
from hypothesis import strategies as st

from approvals.records import Ending, ending_columns
from audit import ledger
from audit.canonical import canonical_text
from audit.events import EventName
from audit.models import Event, local_now
from audit.redaction import ALWAYS_SECRET, PLAIN, REDACTED, Redactor
from tests.audit.conftest import whole_database
from tests.conftest import Agent, as_person, held, work

SECRET = "4111-1111-planted"


def hidden(arguments: Any, value: Any, names: tuple[str, ...] = ("card",)) -> Any:
    """What is kept of a value by the redactor of a call."""
    return Redactor.over(arguments, names)(value)


@pytest.mark.feature("U4")
@pytest.mark.parametrize(
    "arguments",
    [
        {"card": SECRET},
        {"CARD": SECRET},
        {"a": {"b": [{"card": SECRET}]}},
        {"card": {"number": [SECRET, {"again": SECRET}]}},
    ],
)
def test_a_secret_is_hidden_at_any_depth_and_in_any_case(arguments: Any) -> None:
    kept = canonical_text(hidden(arguments, arguments))
    assert "planted" not in kept and REDACTED in kept


@pytest.mark.feature("U4")
def test_names_match_whole_and_alone() -> None:
    arguments = {"card": SECRET, "card_holder": "Ann", "discard": True}
    assert hidden(arguments, arguments) == {
        "card": REDACTED, "card_holder": "Ann", "discard": True,
    }  # fmt: skip


@pytest.mark.feature("U4")
@pytest.mark.parametrize(
    "value",
    [
        SECRET,
        f"the card {SECRET} was refused",
        [{"copy": SECRET}],
        {SECRET: 1},
        {"a": {f"key-{SECRET}": 1}},
        {1: (SECRET,)},
        {SECRET},
    ],
)
def test_a_secret_is_hidden_wherever_else_it_turns_up(value: Any) -> None:
    kept = canonical_text(hidden({"card": SECRET}, value))
    assert "planted" not in kept and REDACTED in kept


@pytest.mark.feature("U4")
@pytest.mark.parametrize("given_as", [987654, "987654", 987654.0, Decimal(987654)])
@pytest.mark.parametrize("found_as", [987654, 987654.0, "987654", Decimal(987654), 1987654])
def test_a_secret_number_is_hidden_in_every_form(given_as: Any, found_as: Any) -> None:
    kept = canonical_text(hidden({"card": given_as}, {"copy": found_as, "text": f"<{found_as}>"}))
    assert "987654" not in kept


@pytest.mark.feature("U4")
@pytest.mark.parametrize(
    "secret",
    ['quo"ted-one', "it's", "back\\slash", "line\nend-of", "ä-umlaut", "nul\x00nul", 'ä-one"two'],
)
def test_a_secret_is_hidden_as_python_and_json_would_quote_it(secret: str) -> None:
    redactor = Redactor.over({"card": secret}, ["card"])
    as_json = json.dumps(secret), json.dumps(secret, ensure_ascii=False)
    for written in (secret, repr(secret), str(KeyError(secret)), f"{[secret]}", *as_json):
        assert secret[:3] not in canonical_text(redactor(f"wrong: {written}"))


@pytest.mark.feature("U4")
def test_a_secret_is_not_looked_for_in_what_hid_another() -> None:
    assert hidden({"card": ["CTED", "REDA"]}, "CTED and REDA") == f"{REDACTED} and {REDACTED}"


def test_words_too_short_to_be_told_apart_are_hidden_by_name_only() -> None:
    arguments = {"card": "123", "note": "1234"}
    assert hidden(arguments, arguments) == {"card": REDACTED, "note": "1234"}


@pytest.mark.feature("U4")
def test_more_secrets_than_can_be_looked_for_hide_all_text() -> None:
    arguments = {"card": [f"secret-{number:03}" for number in range(1000)], "note": "secret-999"}
    assert hidden(arguments, arguments) == {"card": REDACTED, "note": REDACTED}
    assert "secret" not in canonical_text(hidden(arguments, ["a secret-500", {"k": "secret-1"}]))


def test_other_numbers_and_flags_are_left_alone() -> None:
    value = {"a": 5, "b": 5.5, "c": True, "d": None, "e": "text"}
    assert hidden({"card": 987654}, value) == value


@pytest.mark.feature("U4")
@pytest.mark.parametrize("name", sorted(ALWAYS_SECRET))
def test_some_names_are_secret_without_being_marked(name: str) -> None:
    assert PLAIN({name.title(): SECRET}) == {name.title(): REDACTED}


SECRETS = st.text(min_size=4, max_size=12).filter(lambda text: text not in REDACTED)


@pytest.mark.feature("U4")
@given(secret=SECRETS, before=st.text(max_size=5), after=st.text(max_size=5))
def test_no_text_around_a_secret_lets_it_through(secret: str, before: str, after: str) -> None:
    redactor = Redactor.over({"card": secret}, ["card"])
    text = redactor(f"{before}{secret}{after}")
    assert REDACTED in text
    assert secret not in text.replace(REDACTED, "") or secret in before + after


# In the whole database.


@pytest.mark.feature("U4")
@pytest.mark.django_db
def test_a_planted_secret_is_in_no_column_of_any_table(
    agent: Agent, reviewer: User, trace: Path
) -> None:
    calls = [
        ("pay", {"path": str(trace), "amount": 5, "card_number": SECRET}),
        ("pay", {"path": str(trace), "amount": 500, "card_number": SECRET, "note": SECRET}),
        ("pay", {"path": str(trace), "amount": "much", "card_number": SECRET}),
        ("pay", {"path": str(trace), "amount": 5, "card_number": [SECRET]}),
        ("pay", {"path": str(trace), "amount": 5, "CARD_NUMBER": SECRET}),
        ("fails", {"pin": SECRET}),
        ("echo", {"value": {"Password": SECRET, "deep": [{"api_key": SECRET}]}}),
    ]
    statuses = [agent.invoke(tool, **arguments).json()["status"] for tool, arguments in calls]
    assert statuses == [
        "pending", "requires_approval", "validation_error", "validation_error",
        "validation_error", "error", "success",
    ]  # fmt: skip
    agent.post("pay", {"arguments": {"card_number": SECRET}, "metadata": {SECRET: SECRET}})
    approval = held(agent, trace)
    as_person(reviewer).post(
        f"/api/v1/approvals/{approval.pk}/reject", {"reason_to_agent": "no"}, format="json"
    )
    work()
    dump = whole_database()
    assert trace.read_text() == "paid 5.0\n"
    assert "pay" in dump and REDACTED in dump
    assert SECRET not in dump


@pytest.mark.feature("U4")
@pytest.mark.django_db
def test_every_free_column_of_an_event_goes_through_the_redactor() -> None:
    redactor = Redactor.over({"card": SECRET}, ["card"])
    ledger.record(
        EventName.INVOCATION_FINISHED,
        arguments={"card": SECRET, "note": SECRET},
        result=[SECRET],
        error=f"{SECRET} failed",
        metadata={"why": SECRET},
        redactor=redactor,
    )
    event = Event.objects.get()
    assert event.arguments == {"card": REDACTED, "note": REDACTED}
    assert (event.result, event.error) == ([REDACTED], f"{REDACTED} failed")
    assert event.metadata == {"why": REDACTED}
    assert SECRET not in whole_database()


@pytest.mark.feature("U4", "T14")
@pytest.mark.django_db
def test_the_name_of_an_error_is_text_of_the_tools_as_well() -> None:
    """A class that is made as it is raised bears whatever its maker puts there."""
    ending = Ending("error", error="refused", error_type=f"No_{SECRET}")
    kept = ending_columns(ending, Redactor.over({"card": SECRET}, ["card"]), local_now())
    assert kept["error_type"] == f"No_{REDACTED}"
