"""The page of the API, in light and dark, at a desk and on a phone, asking no other host."""

import pytest
import requests

from tests.browser.conftest import TakeSeat
from tests.stack import Stack

pytestmark = [pytest.mark.browser, pytest.mark.stack]

SIZES = {"desk": {"width": 1280, "height": 900}, "phone": {"width": 360, "height": 740}}
DARK = "rgb(28, 32, 34)"


@pytest.mark.feature("H6")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_page_shows_every_operation(
    stack: Stack, take_seat: TakeSeat, size: str, scheme: str
) -> None:
    described = requests.get(f"{stack.base_url}/api/v1/schema", timeout=30).json()["paths"]
    reader = take_seat(viewport=SIZES[size], color_scheme=scheme)
    reader.open("/api/v1/docs")
    reader.page.locator("#operations-ledger-listEvents").wait_for()
    assert reader.page.locator(".opblock").count() == sum(map(len, described.values()))
    reader.page.locator("#operations-calls-invoke .opblock-summary-control").click()
    reader.page.locator("#operations-calls-invoke .responses-table").first.wait_for()
    assert not reader.scrolls_sideways()
    paint = "getComputedStyle(document.documentElement).backgroundColor"
    assert (reader.page.evaluate(paint) == DARK) is (scheme == "dark")
