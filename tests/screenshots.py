"""The pictures in docs/images, taken of the running product: `make screenshots`.

It starts Rampart with demo data on stores of its own, looks at it with Chromium, and stops it.
"""

import json
import os
import shutil
import sys
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from tests.browser.conftest import FLAGS, NAMES, REVIEWER, Seat
from tests.stack import ROOT, Stack, running, until

IMAGES = ROOT / "docs" / "images"
LARGEST = 150_000
"""Bytes of one picture."""
PEOPLE = ("ana", "rosa", "kai")
PERMISSIONS = (*REVIEWER, "view_policy", "view_preset", "view_channel", "export_event")
QUEUE = "/admin/approvals/approval/"
LEDGER = "/admin/audit/event/"
DESK, PHONE = (1120, 740), (360, 740)


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture: of which page, how wide and high, in which light."""

    name: str
    path: str
    size: tuple[int, int] = DESK
    light: str = "light"


def main() -> int:
    """Take all of them; the exit code is 1 if one is too large."""
    program = next((path for name in NAMES if (path := shutil.which(name))), None)
    if program is None:
        print(f"none of {', '.join(NAMES)} is installed", file=sys.stderr)
        return 1
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with running(RAMPART_TOOL_MODULES="tools.examples.demo") as stack, sync_playwright() as play:
        passwords = {name: stack.new_person(name, *PERMISSIONS) for name in PEOPLE}
        call = fill(stack)
        browser = play.chromium.launch(executable_path=program, args=[*FLAGS, *as_root])
        sizes = [take(browser, stack, passwords["rosa"], one) for one in pictures(call)]
    return 1 if max(sizes) > LARGEST else 0


def pictures(call: str) -> list[Picture]:
    """What is worth a look; `call` needs two stages, and one has voted."""
    page = f"{QUEUE}{call}/change/"
    return [
        Picture("queue", QUEUE),
        Picture("queue-dark", QUEUE, light="dark"),
        Picture("queue-phone", QUEUE, PHONE),
        Picture("call", page),
        Picture("call-phone", page, PHONE),
        Picture("insights", "/admin/insights/", (1120, 1240)),
        Picture("insights-dark", "/admin/insights/", (1120, 1240), light="dark"),
        Picture("insights-phone", "/admin/insights/", PHONE),
        Picture("policies", "/admin/approvals/policy/"),
        Picture("ledger", LEDGER),
        Picture("ledger-phone", LEDGER, PHONE),
        Picture("ledger-verified", f"{LEDGER}verification/", (1120, 900), light="dark"),
    ]


def take(browser: Browser, stack: Stack, password: str, picture: Picture) -> int:
    """Sign in, look, and keep what is seen; returns its size."""
    width, height = picture.size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=picture.light
    )
    seat = Seat(context.new_page(), stack.base_url)
    seat.sign_in("rosa", password)
    seat.open(picture.path)
    file = IMAGES / f"{picture.name}.png"
    file.parent.mkdir(exist_ok=True)
    seat.page.screenshot(path=file, animations="disabled")
    context.close()
    size = file.stat().st_size
    print(f"{file.relative_to(ROOT)}: {size} bytes{', too large' if size > LARGEST else ''}")
    return size


def fill(stack: Stack) -> str:
    """Calls in every state; returns the one that waits for its second stage."""
    inside(stack, "rules()")
    shop = stack.new_key("shop-agent", ("*",))
    cleaner = stack.new_key("cleaning-agent", ("accounts.*",))
    runs = refund(stack, shop, "A-1042", 720, reason="never arrived")
    decide(stack, "approve", runs, "kai")
    until(lambda: status(stack, shop, runs) == "success", 40, lambda: stack.log("worker"))
    stack.kill("worker")
    decide(stack, "approve", refund(stack, shop, "A-1050", 610, reason="ordered twice"), "ana")
    no = refund(stack, shop, "A-0007", 1900, reason="please")
    decide(stack, "reject", no, "rosa", "--reason-to-agent", "Attach the invoice, then ask again.")
    late = refund(stack, shop, "A-0990", 505, reason="lost")
    inside(stack, f"expired({late['approval_id']!r})")
    gone = refund(stack, shop, "A-0991", 1510, reason="lost")
    stack.post(f"invocations/{gone['invocation_id']}/cancel", {}, shop)
    void = refund(stack, shop, "A-0992", 1520, reason="lost")
    inside(stack, f"voided({void['invocation_id']!r})")
    refund(stack, shop, "A-1001", 900, reason="damaged in transit", card_number="4111111111111111")
    refund(stack, shop, "A-1077", 580, currency="USD", reason="wrong size")
    hostile = "\u0440\u0430ypal \u202egnp.exe <script>alert(1)</script> zero\u200bwidth"
    refund(stack, shop, "A-1080", 1300, reason=hostile)
    less = refund(stack, shop, "A-1091", 1250, reason="two of three items")
    inside(stack, f"edited({less['approval_id']!r}, amount=830)")
    stack.post(
        "tools/delete_account/invoke",
        {"arguments": {"account_id": "C-204", "reason": "asked by the customer"}},
        cleaner, **{"Idempotency-Key": "C-204", "Prefer": "respond-async"},
    )  # fmt: skip
    staged = refund(stack, shop, "A-1033", 2400, reason="the whole order was broken")
    decide(stack, "approve", staged, "ana", "--note", "seen the photographs")
    inside(stack, "asked_some_time_ago()")
    inside(stack, "a_month()")
    inside(stack, "a_verification()")
    return str(staged["approval_id"])


def inside(stack: Stack, call: str) -> None:
    """Do one thing of tests/demo.py within the deployment."""
    stack.python(f"from tests import demo\ndemo.{call}")


def refund(stack: Stack, key: str, order: str, amount: int, **more: str) -> dict[str, Any]:
    """Ask for a refund, which is held."""
    answer = stack.invoke(
        "refund_payment", key, prefer="respond-async", order_id=order, amount=amount, **more
    )
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = json.loads(answer.text)
    return found


def decide(stack: Stack, verb: str, held: dict[str, Any], who: str, *more: str) -> None:
    """Say yes or no as somebody."""
    stack.manage("approvals", verb, held["approval_id"], "--user", who, *more)


def status(stack: Stack, key: str, held: dict[str, Any]) -> str:
    """Where a call stands."""
    return str(stack.get(f"invocations/{held['invocation_id']}", key).json()["status"])


if __name__ == "__main__":
    sys.exit(main())
