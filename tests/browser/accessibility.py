"""What a machine can tell of a page's accessibility: axe's rules of WCAG 2.2, A and AA."""

from typing import Any, Literal

from axe_playwright_python.sync_playwright import Axe

from tests.browser.conftest import Seat

RULES = {
    "resultTypes": ["violations"],
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"],
}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
AT_REST = """
Promise.all(
    document.getAnimations()
        .filter((one) => one.effect.getComputedTiming().endTime < Infinity)
        .map((one) => one.finished.catch(() => null))
).then(() => null)
"""
"""A button's colour takes its time to change."""
SMALLEST_TARGET = 24
"""Pixels; links within a sentence are free of it."""


def assert_accessible(seat: Seat) -> None:
    """By day and by night: no violation of axe's, no side scroll, and nothing against the page's
    own policy before that."""
    assert seat.complaints == []
    seat.page.context.new_cdp_session(seat.page).send("Page.setBypassCSP", {"enabled": True})
    for scheme in SCHEMES:
        seat.page.emulate_media(color_scheme=scheme)
        seat.page.evaluate(AT_REST)
        assert not seat.scrolls_sideways()
        found = Axe().run(seat.page, options=RULES).response["violations"]
        assert [_told(scheme, violation) for violation in found] == []


def _told(scheme: str, violation: dict[str, Any]) -> str:
    places = [node["target"] for node in violation["nodes"]]
    return f"{scheme}: {violation['id']}: {violation['help']}: {places[:5]}"


def assert_targets_hit(seat: Seat, selector: str) -> None:
    """Everything that is pressed there is large enough for a thumb."""
    for target in seat.page.locator(selector).all():
        box = target.bounding_box()
        if box is not None:
            size = min(box["width"], box["height"])
            assert size >= SMALLEST_TARGET, target.evaluate("one => one.outerHTML")
