"""The ledger at a browser: filters by keyboard, verified with its progress, checked elsewhere."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser.accessibility import assert_accessible, assert_targets_hit
from tests.browser.conftest import Seat, TakeSeat
from tests.console import ROOT
from tests.stack import Stack, until

pytestmark = [pytest.mark.browser, pytest.mark.stack, pytest.mark.feature("V5")]

LIST = "/admin/audit/event/"
VERIFY = f"{LIST}verification/"
EXPORT = f"{LIST}export/"
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def auditor(stack: Stack) -> str:
    """The password of a person who reads the ledger and takes copies of it."""
    stack.invoke("lookup_order", stack.new_key("ledger-bot"), order_id="A-1")
    return stack.new_person("auditor", "view_event", "export_event", "view_invocation")


def seated(take_seat: TakeSeat, password: str, **options: object) -> Seat:
    seat: Seat = take_seat(**options)
    seat.arrive("auditor", password)
    return seat


def test_the_way_from_the_overview_to_one_event_goes_by_keyboard(
    auditor: str, take_seat: TakeSeat
) -> None:
    ann = seated(take_seat, auditor)
    ann.open("/admin/")
    ann.press(ann.page.get_by_role("link", name="everything that happened"))
    ann.page.get_by_label("Actor").focus()
    ann.page.keyboard.type("ledger-bot")
    with ann.page.expect_navigation():
        ann.page.keyboard.press("Enter")
    rows = ann.page.locator("#result_list tbody tr")
    assert rows.count() >= 1
    assert set(ann.page.locator(".field-who").all_inner_texts()) == {"ledger-bot"}
    ann.page.locator("#result_list a").first.focus()
    with ann.page.expect_navigation():
        ann.page.keyboard.press("Enter")
    ann.page.get_by_role("heading", name="How it is secured").wait_for()


def test_a_verification_is_asked_waits_for_a_worker_and_shows_its_result_by_itself(
    stack: Stack, auditor: str, take_seat: TakeSeat
) -> None:
    stack.manage("seal_audit")
    ann = seated(take_seat, auditor)
    ann.open(VERIFY)
    stack.kill("worker")
    try:
        ann.press(ann.page.get_by_role("button", name="Verify"))
        ann.page.get_by_role("heading", name="Waiting for a worker").wait_for()
        loaded = ann.page.evaluate("performance.timeOrigin")
        for message in (stack.folder / "broker" / "messages").iterdir():
            message.unlink()  # Lost on its way, as a broker may lose it.
        stack.python("from audit import verifying\nverifying.upkeep()")
    finally:
        stack.launch("worker")
    ann.page.get_by_text("Nothing was altered since").wait_for(timeout=60_000)
    ann.page.get_by_text("The verification is over.").wait_for()
    assert ann.page.evaluate("performance.timeOrigin") == loaded


@pytest.mark.feature("E51", "U5")
def test_the_line_on_the_page_gives_the_same_answer_on_another_machine(
    stack: Stack, auditor: str, take_seat: TakeSeat, tmp_path: Path
) -> None:
    stack.manage("seal_audit")
    ann = seated(take_seat, auditor)
    ann.open(VERIFY)
    ann.press(ann.page.get_by_role("button", name="Verify"))
    ann.page.get_by_text("Nothing was altered since").wait_for(timeout=60_000)
    command = ann.page.locator("pre.command").last.inner_text()
    ann.press(ann.page.get_by_role("link", name="Export the ledger"))
    with ann.page.expect_download() as download:
        ann.button("Download JSONL").click()
    assert download.value.suggested_filename == "ledger.jsonl"
    export = tmp_path / "ledger.jsonl"
    download.value.save_as(export)
    assert elsewhere(command, tmp_path) == 0
    altered = export.read_text().replace("ledger-bot", "ledger-bat", 1)
    export.write_text(altered)
    assert elsewhere(command, tmp_path) == 6


def elsewhere(command: str, folder: Path) -> int:
    """Paste the line into a shell that knows of no database and no secret of the deployment."""
    (folder / "python").unlink(missing_ok=True)
    (folder / "python").symlink_to(sys.executable)
    manage = command.replace("manage.py", str(ROOT / "manage.py"))
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "DATABASE_URL": "postgres://nobody@127.0.0.1:1/nothing",
        "RAMPART_VAR": str(folder / "var"), "SECRET_KEY": "k" * 50,
        "RAMPART_ARGUMENT_KEYS": "A" * 43 + "=", "LANG": "C.UTF-8",
    }  # fmt: skip
    done = subprocess.run(
        ["bash", "-c", manage], cwd=folder, env=environment, capture_output=True, text=True
    )
    print(done.stdout, done.stderr)
    return done.returncode


def test_a_download_that_is_left_gives_its_place_to_the_next(stack: Stack, auditor: str) -> None:
    stack.python(
        "from tests.audit.ledgers import make_events\n"
        "make_events(4000, lambda number: {'result': 'x' * 5000})"
    )
    session = stack.signed_in("auditor", auditor)
    url = stack.base_url + EXPORT
    session.get(url, timeout=30)
    given = {"format": "jsonl", "csrfmiddlewaretoken": session.cookies["csrftoken"]}

    def export() -> int:
        answer = session.post(url, data=given, stream=True, timeout=60)
        next(answer.iter_content(1000))
        answer.close()
        return answer.status_code

    for _ in range(5):
        until(lambda: export() == 200, 60, lambda: stack.log("web"))


def test_it_works_without_scripts(stack: Stack, auditor: str, take_seat: TakeSeat) -> None:
    ann = seated(take_seat, auditor, java_script_enabled=False)
    ann.open(VERIFY)
    ann.press(ann.page.get_by_role("button", name="Verify"))

    def is_over() -> bool:
        ann.open(VERIFY)
        return ann.page.get_by_text("Nothing was altered since").count() > 0

    until(is_over, 60, lambda: stack.log("worker"))


@pytest.mark.feature("V7")
@pytest.mark.parametrize("light", ["light", "dark"])
@pytest.mark.parametrize("size", [None, PHONE], ids=["desk", "phone"])
def test_it_is_for_everybody(
    stack: Stack, auditor: str, take_seat: TakeSeat, light: str, size: dict[str, int] | None
) -> None:
    options = {"viewport": size, "has_touch": True} if size else {}
    ann = seated(take_seat, auditor, color_scheme=light, **options)
    (line,) = json.loads(
        stack.python(
            "import json\nfrom audit.models import Event\n"
            "print(json.dumps([str(Event.objects.filter(actor='ledger-bot')[0].pk)]))"
        )
    )
    wrong = f"{LIST}?since=yesterday&invocation=x"
    for page in (LIST, wrong, f"{LIST}{line}/change/", VERIFY, EXPORT):
        ann.open(page)
        assert_targets_hit(ann, "#content th a, #content button, #content input:visible")
        assert_accessible(ann)
