"""The page of what runs at a browser: fresh by itself, by thumb, and for everybody."""

from pathlib import Path

import pytest

from tests.browser.accessibility import assert_accessible, assert_targets_hit
from tests.browser.conftest import Seat, TakeSeat
from tests.stack import Stack, until

pytestmark = [pytest.mark.browser, pytest.mark.stack]

PAGE = "/admin/running/"
PHONE = {"width": 360, "height": 740}


def start(stack: Stack, key: str, folder: Path) -> str:
    """A call that runs until it is told to go on."""
    trace = folder / "trace"
    given = {"path": str(trace), "go": str(folder / "go")}
    answer = stack.invoke("waits_for", key, "respond-async", **given)
    until(lambda: trace.exists() and trace.read_text(), 40, lambda: stack.log("worker"))
    return str(answer.json()["invocation_id"])


@pytest.mark.feature("X4", "X11")
def test_a_call_comes_is_cancelled_and_goes_without_a_reload(
    stack: Stack, people: dict[str, str], take_seat: TakeSeat, tmp_path: Path
) -> None:
    rosa = take_seat()
    rosa.sign_in("rosa", people["rosa"])
    rosa.open(PAGE)
    loaded = rosa.page.evaluate("performance.timeOrigin")
    call = start(stack, stack.new_key("running-bot"), tmp_path)
    row = rosa.page.locator(f"#row-{call}")
    row.wait_for()
    row.get_by_text('{"stage": "waiting"}').wait_for()
    assert rosa.page.evaluate("performance.timeOrigin") == loaded
    rosa.press(row.get_by_role("button", name="Cancel"))
    assert "Asked to stop: waits_for" in rosa.page.content()
    row.wait_for(state="detached")


@pytest.mark.feature("V7")
@pytest.mark.parametrize("size", [None, PHONE], ids=["desk", "phone"])
def test_it_is_for_everybody(
    stack: Stack, people: dict[str, str], take_seat: TakeSeat, tmp_path: Path,
    size: dict[str, int] | None,
) -> None:  # fmt: skip
    options = {"viewport": size, "has_touch": True} if size else {}
    rosa: Seat = take_seat(**options)
    rosa.sign_in("rosa", people["rosa"])
    call = start(stack, stack.new_key("running-bot"), tmp_path)
    rosa.open(PAGE)
    rosa.page.locator(f"#row-{call}").wait_for()
    assert_targets_hit(rosa, "#queue-live button, #queue-live .sentence")
    assert_accessible(rosa)
    (tmp_path / "go").touch()
