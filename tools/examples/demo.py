"""The demo's tools: something to read, something to refund, something to delete, something slow.

They move no real money and delete nothing; what they answer is computed from what they are given.
"""

import hashlib
import time
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from tools import (
    ToolContext,
    isolated_process,
    max_retries,
    policy,
    progress,
    rate_limit,
    redact,
    require_approval,
    require_idempotency_key,
    scope,
    side_effects,
    timeout,
    tool,
)

MOST_REFUNDED = 10_000


class Order(BaseModel):
    """An order as the shop shows it."""

    order_id: str
    status: Literal["paid", "shipped", "delivered"]
    total: Decimal
    currency: str


class Refund(BaseModel):
    """What the payment provider would answer."""

    refund_id: str
    order_id: str
    amount: float
    currency: str


class Report(BaseModel):
    """A report over some months."""

    months: int
    rows: int
    checksum: str


def within_reason(context: ToolContext, arguments: dict[str, Any]) -> str | None:
    """Nobody refunds more than 10 000, approved or not."""
    if arguments["amount"] > MOST_REFUNDED:
        return f"refunds above {MOST_REFUNDED} are made by the bank, not by a tool"
    return None


@tool(summary="wants to look up order {order_id}")
@scope("orders.read")
@side_effects(read_only=True, idempotent=True)
@timeout(5)
def lookup_order(order_id: str) -> Order:
    """Look up one order."""
    number = int(hashlib.sha256(order_id.encode()).hexdigest(), 16)
    states: list[Literal["paid", "shipped", "delivered"]] = ["paid", "shipped", "delivered"]
    total = Decimal(number % 90_000) / 100 + 10
    return Order(order_id=order_id, status=states[number % 3], total=total, currency="EUR")


@tool(summary="wants to know the price of one euro in {currency}")
@scope("orders.read")
@side_effects(read_only=True, idempotent=True)
@rate_limit("3/minute/user")
@timeout(5)
def exchange_rate(currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]) -> dict[str, Any]:
    """The price of one euro, three times a minute at most."""
    cents = 50 + int(hashlib.sha256(currency.encode()).hexdigest(), 16) % 200
    return {"currency": currency, "rate": cents / 100}


@tool(summary="wants to refund {amount} {currency} for order {order_id}")
@scope("refunds.write")
@side_effects(money_movement=True, external_network=True)
@require_approval(over_amount=500)
@policy(within_reason)
@redact(["card_number"])
@timeout(10)
def refund_payment(
    order_id: str,
    amount: Annotated[float, Field(gt=0)],
    currency: Literal["EUR", "USD"] = "EUR",
    reason: str = "",
    card_number: str | None = None,
) -> Refund:
    """Refund a payment; above 500 a person decides."""
    number = hashlib.sha256(f"{order_id}:{amount}:{currency}".encode()).hexdigest()[:12]
    return Refund(refund_id=f"re_{number}", order_id=order_id, amount=amount, currency=currency)


@tool(summary="wants to delete account {account_id}")
@scope("accounts.delete")
@side_effects(destructive=True, writes_data=True)
@require_approval
@require_idempotency_key
@timeout(10)
def delete_account(account_id: str, reason: str) -> dict[str, str]:
    """Delete a customer's account; a person always decides."""
    return {"account_id": account_id, "state": "deleted"}


@tool(summary="wants to rebuild the sales report over {months} months")
@scope("reports.run")
@side_effects(idempotent=True, writes_data=True)
@isolated_process
@max_retries(1)
@timeout(60)
def rebuild_report(months: Annotated[int, Field(ge=1, le=24)] = 3) -> Report:
    """Rebuild the sales report in a process of its own, about a second a month."""
    digest = hashlib.sha256()
    for month in range(months):
        progress({"month": month + 1, "of": months})
        digest.update(str(month).encode())
        time.sleep(1)
    return Report(months=months, rows=months * 1200, checksum=digest.hexdigest())
