"""The docs say what the code does: links lead somewhere, and each list is the code's own."""

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import load_command_class
from django.core.management.base import BaseCommand
from prometheus_client import Counter, Histogram

import tools
from approvals import metrics as call_metrics
from approvals.results import HTTP_STATUS
from approvals.states import (
    APPROVAL_TRANSITIONS,
    TRANSITIONS,
    ApprovalStatus,
    InvocationStatus,
    api_word,
)
from audit.events import EventName
from rampart import metrics as web_metrics
from rampart import refusals
from rampart.management.base import Exit
from rampart.problems import CODES

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
COMMANDS = sorted(
    path.stem
    for path in (ROOT / "rampart/management/commands").glob("*.py")
    if path.stem != "__init__"
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`]+)`")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def _text(path: str) -> str:
    return (ROOT / path).read_text()


def _prose(page: Path) -> str:
    """The page without its blocks of code."""
    return FENCE.sub("", page.read_text())


def _section(text: str, title: str) -> str:
    """What stands between a heading of the second level and the next one."""
    return text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def _rows(text: str) -> Iterator[list[str]]:
    """The cells of each table row whose first cell is code."""
    for line in text.splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def _first_cells(text: str) -> list[str]:
    return [code for row in _rows(text) for code in CODE.findall(row[0])]


def _anchors(page: Path) -> set[str]:
    """The anchors of the page's headings, as forges make them."""
    headings = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


# Links.


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target in LINK.findall(_prose(page)):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{target} leads nowhere"
        assert not anchor or anchor in _anchors(found), f"{target} names no heading"


def test_each_page_of_the_docs_is_in_the_index() -> None:
    listed = {(DOCS / link).resolve() for link in LINK.findall((DOCS / "index.md").read_text())}
    assert {page for page in DOCS.rglob("*.md") if page.name != "index.md"} <= listed


def test_decisions_are_numbered_without_a_gap() -> None:
    names = sorted(page.name for page in (DOCS / "decisions").glob("*.md"))
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))


# Settings.


def _read_from_the_environment() -> tuple[set[str], set[str]]:
    """The names that settings.py reads, and those of them that are secrets."""
    names: set[str] = set()
    secrets: set[str] = set()
    for node in ast.walk(ast.parse(_text("rampart/settings.py"))):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="_config" | "_env"), attr=reader),
                args=[ast.Constant(value=str(name)), *_],
            ):
                names.add(name)
                if reader == "secret":
                    secrets.add(name)
    return names, secrets


def test_every_setting_is_documented_and_no_other() -> None:
    names, secrets = _read_from_the_environment()
    assert len(names) > 10
    rows = list(_rows(_text("docs/reference/settings.md")))
    documented = [CODE.findall(row[0])[0] for row in rows]
    assert sorted(documented) == sorted(names)
    files = {row[1] for row in rows if row[1].endswith("_FILE`")}
    assert files == {f"`{name}_FILE`" for name in secrets}


def test_documented_defaults_are_those_of_the_code() -> None:
    documented = {
        CODE.findall(row[0])[0]: row for row in _rows(_text("docs/reference/settings.md"))
    }
    for node in ast.walk(ast.parse(_text("rampart/settings.py"))):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="_config"), attr=reader),
                args=[ast.Constant(value=str(name)), ast.Constant(value=default), *_],
            ) if reader != "secret" and default != "":
                assert f"`{default}`" in documented[name][1], name


# States.


def _arrows(title: str, column: int) -> dict[str, frozenset[str]]:
    rows = _rows(_section(_text("docs/states.md"), title))
    return {CODE.findall(row[0])[0]: frozenset(CODE.findall(row[column])) for row in rows}


def test_every_status_and_arrow_of_a_call_is_documented() -> None:
    expected = {str(k): frozenset(map(str, v)) for k, v in TRANSITIONS.items()}
    assert _arrows("Invocation", 3) == expected
    assert set(expected) == set(InvocationStatus.values)


def test_every_status_and_arrow_of_an_approval_is_documented() -> None:
    expected = {str(k): frozenset(map(str, v)) for k, v in APPROVAL_TRANSITIONS.items()}
    assert _arrows("Approval", 2) == expected
    assert set(expected) == set(ApprovalStatus.values)


def test_the_words_of_the_api_for_statuses_are_documented() -> None:
    words = _arrows("Invocation", 1)
    assert words == {status: frozenset({api_word(status)}) for status in InvocationStatus.values}


def test_every_status_has_its_http_status_in_the_api_page() -> None:
    rows = _rows(_section(_text("docs/reference/api.md"), "Statuses"))
    assert {CODE.findall(row[0])[0]: int(row[1]) for row in rows} == HTTP_STATUS


# Commands.


def _options(name: str) -> tuple[set[str], set[str]]:
    """A command's own options, and its positional arguments."""
    common = BaseCommand().create_parser("manage.py", name)
    known = {option for action in common._actions for option in action.option_strings}
    command = load_command_class("rampart", name)
    own = [
        action
        for action in command.create_parser("manage.py", name)._actions
        if not known & set(action.option_strings)
    ]
    long = {option for action in own for option in action.option_strings if option[:2] == "--"}
    return long, {action.dest for action in own if not action.option_strings}


def test_every_command_is_documented_and_no_other() -> None:
    headings = re.findall(r"^## ([a-z_]+)$", _text("docs/reference/commands.md"), re.MULTILINE)
    assert headings == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_documented_and_no_other(name: str) -> None:
    section = _section(_text("docs/reference/commands.md"), name)
    options, positional = _options(name)
    assert set(_first_cells(section)) == options
    assert positional <= set(CODE.findall(section))


def test_every_exit_code_is_documented() -> None:
    section = _section(_text("docs/reference/commands.md"), "Exit codes")
    rows = re.findall(r"^\| (\d) \| `(\w+)` \|", section, re.MULTILINE)
    assert {name: int(code) for code, name in rows} == {code.name: int(code) for code in Exit}


# Codes and names.


def test_every_problem_is_documented_once_and_no_other() -> None:
    assert sorted(_first_cells(_text("docs/reference/problems.md"))) == sorted(CODES)


def test_every_event_is_documented_once_and_no_other() -> None:
    assert sorted(_first_cells(_text("docs/reference/events.md"))) == sorted(EventName.values)


def _metrics() -> set[str]:
    """The metrics that a page of `/metrics` may have, as Prometheus names them."""
    declared = [*vars(call_metrics).values(), *vars(web_metrics).values(), *vars(refusals).values()]
    counters = [one for one in declared if isinstance(one, Counter)]
    histograms = [one for one in declared if isinstance(one, Histogram)]
    return {
        *(f"{counter.describe()[0].name}_total" for counter in counters),
        *(histogram.describe()[0].name for histogram in histograms),
        *(gauge.name for gauge in call_metrics.Backlog().collect()),
    }


@pytest.mark.django_db
@pytest.mark.feature("O1")
def test_every_metric_is_documented_and_no_other() -> None:
    assert set(_first_cells(_text("docs/reference/metrics.md"))) == _metrics()


def test_every_name_that_a_tool_module_may_import_is_documented() -> None:
    page = _text("docs/reference/decorators.md").split("\n## ", 1)[0]
    assert sorted(_first_cells(page)) == sorted(tools.__all__)


def test_every_system_check_is_documented_and_no_other() -> None:
    ids = {
        found
        for room in ("rampart", "approvals", "tools", "sandbox", "audit")
        for file in (ROOT / room).rglob("checks.py")
        for found in re.findall(r'id="([a-z]+\.[EWC]\d{3})"', file.read_text())
    }
    assert ids
    assert set(_first_cells(_text("docs/reference/system-checks.md"))) == ids


# The README.


def test_every_make_target_that_the_pages_name_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", _text("Makefile"), re.MULTILINE))
    for page in PAGES:
        for words in re.findall(r"(?:^|[`\s])make ([a-z]+)(?=`|$)", page.read_text(), re.MULTILINE):
            assert words in targets, f"{page.name}: make {words}"


def test_every_path_that_the_readme_names_exists() -> None:
    text = _text("README.md")
    rooms = re.findall(r"^([a-z]+/) ", text, re.MULTILINE)
    paths = [code for code in CODE.findall(_prose(ROOT / "README.md")) if _is_path(code)]
    assert len(rooms) == 5
    missing = [path for path in [*rooms, *paths] if not (ROOT / path).exists()]
    assert missing == []


def test_every_source_file_that_the_pages_name_exists() -> None:
    for page in PAGES:
        for code in CODE.findall(_prose(page)):
            if _is_path(code) and code.endswith(".py"):
                assert (ROOT / code).exists(), f"{page.name}: {code}"


def _is_path(code: str) -> bool:
    """A path of the repository, not one that `make run` makes."""
    return re.fullmatch(r"[\w.]+(/[\w.-]+)+/?", code) is not None and not code.startswith("var/")


def test_every_manage_command_that_the_pages_use_exists() -> None:
    django = {"migrate", "check", "shell", "createsuperuser", "changepassword", "help",
              "clearsessions", "axes_reset", "axes_reset_ip", "axes_list_attempts"}  # fmt: skip
    for page in PAGES:
        for name in re.findall(r"manage\.py ([a-z_]+)", page.read_text()):
            assert name in django or name in COMMANDS, f"{page.name}: manage.py {name}"


def _tool_modules() -> list[tuple[str, str]]:
    blocks = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
    found = [(page.name, block) for page in PAGES for block in blocks.findall(page.read_text())]
    return [(name, block) for name, block in found if "\n@tool" in block]


@pytest.mark.parametrize(("page", "module"), _tool_modules(), ids=lambda text: text[:20])
def test_the_tools_in_the_pages_are_well_defined(page: str, module: str, tmp_path: Path) -> None:
    """In a process of its own: a definition stays in the registry of the one that reads it."""
    (tmp_path / "tool_of_the_page.py").write_text(module)
    judge = (
        "from tools import registry; found = registry.load(['tool_of_the_page']); "
        "raise SystemExit('; '.join(found.problems) or (0 if found.tools else 'no tool'))"
    )
    run = subprocess.run(
        [sys.executable, "-c", judge],
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr


def test_the_readme_has_a_line_for_each_way_that_a_call_can_go() -> None:
    section = _section(_text("README.md"), "Six ways a call can go")
    blocks = re.findall(r"^```sh\n(.*?)\n```", section, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 6
    for line in blocks:
        assert "\n" not in line and "$RAMPART_KEY" in line
        assert shlex.split(line)


def test_no_page_promises_what_is_not_there() -> None:
    """What is planned is named in two places only, under one heading."""
    planned = re.compile(r"break-glass|delegat", re.IGNORECASE)
    for page in PAGES:
        said = page.read_text().split("\n## Not there yet\n")[0]
        assert not planned.search(said), page.name
