"""The sentence in which a call is put: by its tool's template, or by its name and arguments."""

from collections.abc import Callable
from typing import Any

import pytest

from approvals.models import Invocation
from approvals.serializers import LONGEST_SUMMARY, summary
from audit.redaction import REDACTED
from tests.conftest import Agent, MakeAgent
from tests.tools.conftest import Bench
from tools import tool

pytestmark = pytest.mark.feature("E41")


def asked(tool_name: str, actor: str = "bot", **arguments: Any) -> str:
    """The sentence of such a call."""
    return summary(Invocation(tool_name=tool_name, actor=actor, arguments=arguments))


def refund(**arguments: Any) -> str:
    given = {"order_id": "A-1", "amount": 420, "currency": "EUR", "reason": "", **arguments}
    return asked("refund_payment", **given)


def test_a_template_puts_the_arguments_in_words() -> None:
    assert refund() == "bot wants to refund 420 EUR for order A-1"
    assert refund(amount=420.5) == "bot wants to refund 420.5 EUR for order A-1"


def test_without_a_template_the_name_and_the_first_three_arguments_say_it() -> None:
    said = asked("pay", path="/a", amount=5, card_number=REDACTED, note="x")
    assert said == "bot wants to run pay: path /a, amount 5, note x"
    assert asked("long_gone", a=1, b="", c=None, d=2, e=3, f=4) == (
        "bot wants to run long_gone: a 1, d 2, e 3"
    )
    assert asked("where_am_i") == "bot wants to run where_am_i"


def test_what_is_hidden_or_missing_is_said_so() -> None:
    assert refund(order_id=REDACTED) == "bot wants to refund 420 EUR for order [REDACTED]"
    assert refund(order_id=None) == "bot wants to refund 420 EUR for order nothing"


def test_no_value_can_push_the_rest_of_the_sentence_out() -> None:
    said = refund(currency="x" * 10_000)
    assert said.endswith("… for order A-1")
    assert len(said) <= LONGEST_SUMMARY
    said = refund(order_id="A-1\n\n" + " " * 9 + "\t for free" + "y" * 10**6)
    assert "\n" not in said and "  " not in said and said.endswith("…")
    long = asked("refund_payment", "b" * 200, order_id="o" * 99, amount=[0] * 99, currency="c" * 99)
    assert len(long) == LONGEST_SUMMARY and long.endswith("…")


def test_braces_and_markup_in_a_value_are_only_text() -> None:
    assert refund(order_id="{amount.__class__}") == (
        "bot wants to refund 420 EUR for order {amount.__class__}"
    )
    assert refund(order_id="\u202e<b>") == "bot wants to refund 420 EUR for order \u202e<b>"


@pytest.mark.parametrize(
    ("template", "wrong"),
    [
        ("pays {amuont}", "{amuont}"),
        ("pays {amount.real}", "{amount.real}"),
        ("pays {amount[0]}", "{amount[0]}"),
        ("pays {amount!r}", "{amount!r}"),
        ("pays {amount:>99}", "{amount:>99}"),
        ("pays {}", "{}"),
        ("pays {amount", "summary: "),
    ],
)
def test_a_template_that_names_anything_but_a_parameter_stops_the_start(
    template: str, wrong: str, bench: Bench
) -> None:
    def pay(amount: float) -> float:
        """Pay."""
        return amount

    tool(summary=template)(pay)
    problem = bench.problem()
    assert "pay: summary" in problem and wrong in problem


def test_other_words_for_the_same_call_are_no_new_version(bench: Bench) -> None:
    def made(**options: Any) -> str:
        def pay(amount: float) -> float:
            """Pay."""
            return amount

        bench.clear()
        decorate: Callable[[Any], Any] = tool(**options)
        return bench.build(decorate(pay)).schema_hash

    assert made(summary="pays {amount} of {{gold}}") == made()
    assert made(description="Pay twice.") != made()


@pytest.mark.django_db
def test_the_api_and_the_page_say_the_same_sentence(make_agent: MakeAgent) -> None:
    shop: Agent = make_agent("shop", ("*",))
    answer = shop.invoke("refund_payment", order_id="A-9", amount=900)
    shown = shop.get(f"approvals/{answer.json()['approval_id']}").json()
    assert shown["summary"] == "shop wants to refund 900 EUR for order A-9"
