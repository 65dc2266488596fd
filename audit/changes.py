"""What a change has changed, for the ledger: `before` and `after`, by the names of the fields."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from django.db import models

from audit.redaction import ALWAYS_SECRET

Facts: TypeAlias = Mapping[str, Any] | None
"""What a row says, by field; None where there is none."""


def difference(before: Facts, after: Facts) -> dict[str, Any]:
    """The fields that differ, as they were and as they are; all of them of a row new or gone."""
    if before is None or after is None:
        return {"before": before, "after": after}
    names = [
        name for name in {**before, **after} if not _is_the_same(before.get(name), after.get(name))
    ]
    return {
        "before": {name: before.get(name) for name in names},
        "after": {name: after.get(name) for name in names},
    }


def _is_the_same(one: Any, other: Any) -> bool:
    """In Python 1 is True, and no field means that."""
    return type(one) is type(other) and one == other


def facts_of(row: models.Model) -> dict[str, Any]:
    """The row's fields, and the names of the rows that it is linked to; nothing that is secret."""
    own = {field.name: _shown(row, field) for field in row._meta.concrete_fields if _is_told(field)}
    linked = {
        field.name: sorted(map(str, getattr(row, field.name).all()))
        for field in row._meta.many_to_many
    }
    return own | linked


def _is_told(field: "models.Field[Any, Any]") -> bool:
    return not isinstance(field, models.BinaryField) and field.name not in ALWAYS_SECRET


def _shown(row: models.Model, field: "models.Field[Any, Any]") -> Any:
    value = getattr(row, field.name)
    return str(value) if isinstance(value, models.Model) else value
