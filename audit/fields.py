"""A column for JSON whose stored bytes are its canonical form.

PostgreSQL's jsonb rewrites what it is given (1e22 comes back as an integer), and a digest over
rewritten values would not match; so the text itself is stored, the same on every database.
"""

from typing import Any

from django.db import models

from audit.canonical import JSON, canonical_text, value_of


class CanonicalJSONField(models.TextField):  # type: ignore[type-arg]
    """JSON stored as RFC 8785 text; give it what `recordable` has made."""

    def from_db_value(self, value: str | None, *_: Any) -> JSON:
        return None if value is None else value_of(value)

    def to_python(self, value: JSON) -> JSON:
        return value

    def get_prep_value(self, value: JSON) -> str | None:
        return None if value is None else canonical_text(value)

    def value_to_string(self, obj: models.Model) -> str:
        return str(self.get_prep_value(self.value_from_object(obj)))
