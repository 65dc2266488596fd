"""A real Chromium that can reach this machine only, one context a person."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    Response,
    sync_playwright,
)

from tests.stack import Stack, signed_in

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]  # fmt: skip
REVIEWER = (
    "decide_approval", "view_approval", "view_invocation", "view_event", "view_tool",
    "change_tool", "view_apikey", "add_apikey", "rotate_apikey",
)  # fmt: skip


@dataclass
class Seat:
    """A person at a browser, and everything that the browser complained of."""

    page: Page
    base_url: str
    complaints: list[str] = field(default_factory=list)
    strayed: list[str] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)

    def watch(self) -> None:
        """Note errors, violations of the policy and requests that leave the machine."""
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._request)
        self.page.on("response", self._response)

    def open(self, path: str) -> None:
        self.page.goto(self.base_url + path)

    def arrive(self, username: str, password: str) -> None:
        """Have signed in a moment ago, and be nowhere yet: the form takes a browser two pages."""
        held = signed_in(self.base_url, username, password).cookies
        self.page.context.add_cookies(
            [
                {
                    "name": cookie.name, "value": cookie.value or "", "url": self.base_url,
                    "httpOnly": cookie.has_nonstandard_attr("HttpOnly"), "sameSite": "Lax",
                }
                for cookie in held
            ]
        )  # fmt: skip

    def sign_in(self, username: str, password: str) -> None:
        """Sign in by the form."""
        self.open("/admin/")
        self.page.get_by_label("Username").fill(username)
        self.page.get_by_label("Password").fill(password)
        self.press(self.button("Log in"))
        assert self.page.locator("#logout-form").count() == 1

    def press(self, target: Locator, *, by_thumb: bool = False) -> None:
        """Click or tap what leads to another page, and wait for that page."""
        with self.page.expect_navigation():
            target.tap() if by_thumb else target.click()

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name)

    def open_approval(self, approval_id: str) -> None:
        self.open(f"/admin/approvals/approval/{approval_id}/change/")

    def scrolls_sideways(self) -> bool:
        wide: bool = self.page.evaluate(
            "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        )
        return wide

    def _console(self, message: ConsoleMessage) -> None:
        refused_on_purpose = "Failed to load resource" in message.text
        if message.type == "error" and not refused_on_purpose:
            self.complaints.append(message.text)

    def _request(self, request: Request) -> None:
        if not request.url.startswith((self.base_url, "data:")):
            self.strayed.append(request.url)

    def _response(self, response: Response) -> None:
        self.answers[urlsplit(response.url).path] = response.status


TakeSeat = Callable[..., Seat]


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """The browser; without one, its tests are left out."""
    program = next((path for name in NAMES if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"the browser tests were left out: none of {', '.join(NAMES)} is installed")
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*FLAGS, *as_root])
        yield browser
        browser.close()


@pytest.fixture
def take_seat(chromium: Browser, stack: Stack) -> Iterator[TakeSeat]:
    """Opens browsers of their own; in the end none has complained or strayed."""
    seats: list[Seat] = []

    def take(**options: Any) -> Seat:
        context = chromium.new_context(**options)
        context.set_default_timeout(15_000)
        seat = Seat(context.new_page(), stack.base_url)
        seat.watch()
        seats.append(seat)
        return seat

    yield take
    for seat in seats:
        seat.page.context.close()
        assert seat.complaints == []
        assert seat.strayed == []


@pytest.fixture(scope="session")
def people(stack: Stack) -> dict[str, str]:
    """Two reviewers, with their passwords."""
    return {name: stack.new_person(name, *REVIEWER) for name in ("rosa", "ana")}


@pytest.fixture(scope="session")
def agent_key(stack: Stack) -> str:
    """The key of the agent whose calls are reviewed."""
    return stack.new_key("shop-agent")
