"""What a machine can tell of a page's accessibility: axe's rules of WCAG 2.2, A and AA."""

from typing import Any

from axe_playwright_python.sync_playwright import Axe

from tests.browser.conftest import Seat

RULES = {
    "resultTypes": ["violations"],
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"],
}
SMALLEST_TARGET = 24
"""Pixels; links within a sentence are free of it."""


def assert_accessible(seat: Seat) -> None:
    """No violation of axe's, nothing against the page's own policy before that, no side scroll."""
    assert seat.complaints == []
    assert not seat.scrolls_sideways()
    seat.page.context.new_cdp_session(seat.page).send("Page.setBypassCSP", {"enabled": True})
    found = Axe().run(seat.page, options=RULES).response["violations"]
    assert [_told(violation) for violation in found] == []


def _told(violation: dict[str, Any]) -> str:
    places = [node["target"] for node in violation["nodes"]]
    return f"{violation['id']}: {violation['help']}: {places[:5]}"


def assert_targets_hit(seat: Seat, selector: str) -> None:
    """Everything that is pressed there is large enough for a thumb."""
    for target in seat.page.locator(selector).all():
        box = target.bounding_box()
        if box is not None:
            size = min(box["width"], box["height"])
            assert size >= SMALLEST_TARGET, target.evaluate("one => one.outerHTML")
