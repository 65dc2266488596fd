"""A tool module as people write them: annotations are text, and types are its own."""

from __future__ import annotations

from decimal import Decimal
from enum import Enum
from typing import Annotated

from pydantic import BaseModel, Field


class Currency(Enum):
    EURO = "EUR"


class Line(BaseModel):
    amount: Annotated[Decimal, Field(gt=0)]
    currency: Currency = Currency.EURO


class Invoice(BaseModel):
    lines: list[Line]


def total(invoice: Invoice, discount: Line | None = None) -> Line:
    """Add up an invoice."""
    assert isinstance(invoice, Invoice)
    amount = sum((line.amount for line in invoice.lines), start=Decimal(0))
    return Line(amount=amount - (discount.amount if discount else 0))
