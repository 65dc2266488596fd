"""The ledger of a running deployment is sealed and signed, and nobody asks for it."""

from base64 import b64decode
from typing import Any

import pytest

from audit.merkle import check_inclusion, leaf_hash
from tests.stack import Stack, until

pytestmark = [pytest.mark.stack, pytest.mark.feature("U2")]


@pytest.fixture(params=["stack", "production_stack"])
def running(request: pytest.FixtureRequest) -> Stack:
    """The embedded default, and the one of production."""
    started: Stack = request.getfixturevalue(request.param)
    return started


def proof_of(stack: Stack, key: str, event_id: str) -> Any:
    answer = stack.get(f"audit/{event_id}/proof", key)
    assert answer.ok or answer.json()["code"] in ("no_checkpoint", "not_sealed_yet"), answer.text
    return answer.json() if answer.ok else None


def test_what_was_called_is_sealed_and_signed_within_seconds(running: Stack) -> None:
    key = running.new_key("auditor", ("kit.*", "audit.read_all"))
    told = running.invoke("echo", key, value=1).json()["audit_id"]
    proof = until(lambda: proof_of(running, key, told), 60, lambda: running.log("beat"))
    leaf = leaf_hash(bytes.fromhex(proof["digest"]))
    root, *path = (b64decode(one) for one in (proof["root"], *proof["path"]))
    check_inclusion(leaf, proof["leaf_index"], proof["tree_size"], path, root)
    _, size, signed_root, *_ = proof["checkpoint"].split("\n")
    assert (size, signed_root) == (str(proof["tree_size"]), proof["root"])
