"""Each kind of event is an event of OCSF, by the schema that OCSF publishes."""

import json
from functools import cache
from typing import Any

import jsonschema
import ocsf_json_schema as published
import pytest

from audit import export
from audit.events import EventName
from audit.export import JSONL, OCSF, Selection, ocsf
from audit.export.reading import Line
from audit.models import new_id
from tests.architecture.first_party import imports, trees
from tests.audit.ledgers import make_events
from tests.audit.test_export_csv import stored


@cache
def checker(class_uid: int) -> jsonschema.Draft202012Validator:
    """OCSF's own description of a class, in which no unknown member may stand."""
    schema = published.OcsfJsonSchemaEmbedded(published.get_ocsf_schema(version=ocsf.VERSION))
    name = schema.lookup_class_name_from_uid(class_uid)
    return jsonschema.Draft202012Validator(schema.get_class_schema(name))


def faults(event: dict[str, Any]) -> list[str]:
    return [fault.message for fault in checker(event["class_uid"]).iter_errors(event)]


def mapped(name: str, **columns: Any) -> dict[str, Any]:
    """The event of OCSF that a line holds."""
    event: dict[str, Any] = json.loads(OCSF.write(Line(7, stored(event=name, **columns))))
    return event


@pytest.mark.feature("U5")
@pytest.mark.parametrize("name", [*EventName.values, "thing:of-another-version"])
def test_each_kind_of_event_is_what_the_published_schema_describes(name: str) -> None:
    bare = mapped(name)
    full = mapped(
        name, actor="bot", tool_name="pay", status="denied", reason="scope", error="no",
        arguments='{"a":1}', result="[1]", metadata='{"address":"10.0.0.7"}',
        invocation_id=new_id(), session_id=new_id(), request_id="r", source="rest",
        key_prefix="rmp_abc",
    )  # fmt: skip
    assert faults(bare) == faults(full) == []


def test_the_schema_finds_faults() -> None:
    event = mapped(EventName.INVOCATION_FINISHED)
    assert faults(event | {"activity_id": 77}) and faults(event | {"colour": "red"})
    del event["actor"]
    assert faults(event)


def test_every_kind_of_event_is_mapped_and_no_other() -> None:
    assert set(ocsf.KINDS) == set(EventName)


@pytest.mark.parametrize("name", EventName.values)
def test_each_activity_is_called_as_its_class_calls_it(name: str) -> None:
    event = mapped(name)
    assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
    attribute = _class(event["class_uid"])["attributes"]["activity_id"]
    caption = attribute["enum"][str(event["activity_id"])]["caption"]
    assert caption in ("Other", event["activity_name"])
    assert event["class_name"] == _class(event["class_uid"])["caption"]
    assert event["category_name"] == _class(event["class_uid"])["category_name"]


@pytest.mark.parametrize(
    ("status", "status_id"),
    [("success", 1), ("denied", 2), ("error", 2), ("unknown", 2), ("pending", 99), (None, 1)],
)
def test_a_calls_status_is_a_success_a_failure_or_still_open(
    status: str | None, status_id: int
) -> None:
    event = mapped(EventName.INVOCATION_FINISHED, status=status)
    assert event["status_id"] == status_id
    assert status_id != 99 or event["status"] == status


def test_who_and_from_where_are_told_in_ocsfs_words() -> None:
    event = mapped(
        EventName.CREDENTIALS_REFUSED, metadata='{"address":"2001:db8::1"}', key_prefix="rmp_x",
        source="rest",
    )  # fmt: skip
    assert event["user"] == {"name": "unknown", "credential_uid": "rmp_x"}
    assert event["src_endpoint"] == {"name": "rest", "ip": "2001:db8::1"}
    assert (event["class_uid"], event["status_id"]) == (3002, 2)


@pytest.mark.parametrize("metadata", ['{"address":"somewhere"}', '{"address":7}', "[]", "null"])
def test_an_address_that_is_none_is_left_out(metadata: str) -> None:
    event = mapped(EventName.SIGN_IN, metadata=metadata)
    assert "ip" not in event["src_endpoint"] and faults(event) == []


@pytest.mark.feature("U5")
@pytest.mark.django_db
def test_the_whole_line_stands_under_unmapped_with_its_proof() -> None:
    make_events(5)
    extent = export.begin(OCSF, Selection(after=1), by="ann", source="test")
    both = (list(export.lines(form, Selection(after=1), extent)) for form in (OCSF, JSONL))
    for known, plain in zip(*both, strict=True):
        assert json.loads(known)["unmapped"] == json.loads(plain)
        assert known.endswith(f'"unmapped":{plain[:-1]}}}\n')
        assert OCSF.place(known) == JSONL.place(plain)


def test_nothing_that_runs_needs_the_checkers() -> None:
    wanted = {"ocsf_json_schema", "jsonschema"}
    found = [
        path for path, tree in trees().items()
        for module, _ in imports(tree) if module.partition(".")[0] in wanted
    ]  # fmt: skip
    assert found == []


def _class(uid: int) -> dict[str, Any]:
    classes = published.get_ocsf_schema(version=ocsf.VERSION)["classes"].values()
    (found,) = (one for one in classes if one["uid"] == uid)
    return dict(found)
