"""The arrows between the rooms, and habits that keep each fact in one place."""

import ast
from collections.abc import Callable, Iterator
from io import StringIO

import pytest
from django.core.management import call_command

from tests.architecture.first_party import ROOMS, ROOT, calls, functions, imports, keywords, trees

MAY_IMPORT = {
    "rampart": {"rampart", "approvals", "tools", "audit", "sandbox"},
    "approvals": {"approvals", "tools", "audit", "sandbox"},
    "tools": {"tools", "audit", "sandbox"},
    "audit": {"audit"},
    "sandbox": {"sandbox"},
    "manage.py": set[str](),
}
READS_THE_ENVIRONMENT = {"rampart/settings.py", "rampart/configuration.py"}
NAMES_THE_SETTINGS = {"manage.py", "rampart/celery.py", "rampart/wsgi.py", "rampart/asgi.py"}
WRITES_STATUS = {
    f"approvals/transitions/{name}.py"
    for name in ("entering", "deciding", "closing", "running", "moves")
}

Found = Iterator[str]


def room_of(path: str) -> str:
    """The room that a file stands in."""
    return path.partition("/")[0]


def nowhere(look: Callable[[str, ast.Module], Found], *, except_in: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    """Assert that nothing is found in any file but the excepted ones."""
    found = [
        f"{path}:{where}"
        for path, tree in trees().items()
        if path not in except_in
        for where in look(path, tree)
    ]
    assert found == []


# Arrows.


def test_every_room_is_looked_at() -> None:
    assert {room_of(path) for path in trees()} == {*ROOMS, "manage.py"}
    assert set(MAY_IMPORT) == {*ROOMS, "manage.py"}
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages == {*ROOMS, "tests", "benchmarks"}


def test_rooms_import_only_along_the_arrows() -> None:
    def look(path: str, tree: ast.Module) -> Found:
        for module, line in imports(tree):
            top = module.partition(".")[0]
            if top in (*ROOMS, "tests", "") and top not in MAY_IMPORT[room_of(path)]:
                yield f"{line} imports {module}"

    nowhere(look)


def test_nothing_of_ours_is_imported_inside_a_function() -> None:
    def look(path: str, tree: ast.Module) -> Found:
        for function in functions(tree):
            for module, line in imports(function):
                if module.partition(".")[0] in (*ROOMS, ""):
                    yield f"{line} imports {module} in {function.name}"

    nowhere(look)


def test_nothing_is_imported_by_a_relative_name() -> None:
    def look(path: str, tree: ast.Module) -> Found:
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level:
                yield f"{node.lineno}"

    nowhere(look)


def test_no_arrow_hides_in_a_text() -> None:
    """`import_module("…")` and Django's dotted names would go past the test above."""

    def look(path: str, tree: ast.Module) -> Found:
        for name, call in calls(tree):
            named = [node for node in call.args if isinstance(node, ast.Constant | ast.JoinedStr)]
            if name in ("import_module", "import_string", "__import__") and named:
                yield f"{call.lineno} {ast.unparse(call)}"

    nowhere(look)


# The environment.


def _environment(path: str, tree: ast.Module) -> Found:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv"):
            yield f"{node.lineno} {ast.unparse(node)}"


def test_only_the_settings_read_the_environment() -> None:
    """Entries may name the settings module, and the sandbox hands its children a clean one."""

    def look(path: str, tree: ast.Module) -> Found:
        for where in _environment(path, tree):
            line = (ROOT / path).read_text().splitlines()[int(where.split()[0]) - 1]
            names_settings = "DJANGO_SETTINGS_MODULE" in line and path in NAMES_THE_SETTINGS
            if not names_settings and room_of(path) != "sandbox":
                yield where

    nowhere(look, except_in=READS_THE_ENVIRONMENT)


def test_the_sandbox_reads_no_variable_by_name() -> None:
    def look(path: str, tree: ast.Module) -> Found:
        if room_of(path) == "sandbox":
            for name, call in calls(tree):
                if name in ("getenv", "get") and "environ" in ast.unparse(call.func):
                    yield f"{call.lineno}"

    nowhere(look)


# Writing.


def test_status_is_written_in_transitions_alone() -> None:
    """By assignment, by `update`, by `setattr`, or in a new row, unless it is passed on to one."""

    def look(path: str, tree: ast.Module) -> Found:
        for node in ast.walk(tree):
            targets: list[ast.expr] = []
            if isinstance(node, ast.Assign):
                targets = node.targets
            elif isinstance(node, ast.AugAssign | ast.AnnAssign):
                targets = [node.target]
            for target in targets:
                if isinstance(target, ast.Attribute) and target.attr == "status":
                    yield f"{node.lineno} {ast.unparse(target)} ="
        for name, call in calls(tree):
            of_rows = name in (
                "update", "bulk_create", "create", "get_or_create", "update_or_create",
                "Invocation", "Approval",
            )  # fmt: skip
            passed_on = "status=status" in ast.unparse(call)
            if (of_rows and "status" in keywords(call) and not passed_on) or name == "new_row":
                yield f"{call.lineno} {name}(status=…)"
            if name == "setattr" and "'status'" in ast.unparse(call):
                yield f"{call.lineno} setattr"

    nowhere(look, except_in=WRITES_STATUS)


def test_the_test_above_sees_what_it_should() -> None:
    """Where statuses are written, it would find them."""
    with pytest.raises(AssertionError):
        nowhere(
            lambda path, tree: (
                name
                for name, call in calls(tree)
                if name in ("update", "Invocation", "Approval") and "status" in keywords(call)
            )
        )


def test_each_save_says_what_it_writes() -> None:
    """A save of a whole row undoes what others have written meanwhile."""

    def look(path: str, tree: ast.Module) -> Found:
        for name, call in calls(tree):
            target = ast.unparse(call.func)
            passes_on = any(keyword.arg is None for keyword in call.keywords)
            if name != "save" or (target == "super().save" and passes_on):
                continue
            if not keywords(call) & {"update_fields", "force_insert"}:
                yield f"{call.lineno} {target}(…)"

    nowhere(look)


def test_no_text_is_called_safe() -> None:
    """SafeString may be named as a type: it is what `format_html` gives."""

    def look(path: str, tree: ast.Module) -> Found:
        names = ("mark_safe", "SafeString", "SafeText", "html_safe")
        yield from (f"{call.lineno} {name}" for name, call in calls(tree) if name in names)
        for node in ast.walk(tree):
            if isinstance(node, ast.Name | ast.alias) and "mark_safe" in ast.unparse(node):
                yield f"{node.lineno} mark_safe"

    nowhere(look)


def test_no_template_calls_a_text_safe() -> None:
    templates = [path for room in (*ROOMS, "templates") for path in (ROOT / room).rglob("*.html")]
    for path in templates:
        text = path.read_text()
        assert "|safe" not in text and "autoescape off" not in text, path


def test_the_ledger_is_written_through_its_slot_alone() -> None:
    def look(path: str, tree: ast.Module) -> Found:
        for name, call in calls(tree):
            target = ast.unparse(call.func)
            if target in ("Event", "Event.objects.create", "Event.objects.bulk_create"):
                yield f"{call.lineno} {name}"

    nowhere(look, except_in={"audit/ledger.py"})


# Nothing left behind.


def _check_ids() -> set[str]:
    found = set()
    for tree in trees().values():
        for name, call in calls(tree):
            if name in ("Error", "Warning", "Info", "Critical", "CheckMessage"):
                found |= {
                    str(keyword.value.value)
                    for keyword in call.keywords
                    if keyword.arg == "id" and isinstance(keyword.value, ast.Constant)
                }
    return found


def test_every_system_check_has_a_test() -> None:
    ids = _check_ids()
    tests = "".join(
        path.read_text()
        for path in (ROOT / "tests").rglob("test_*.py")
        if path.name not in ("test_docs.py", "test_imports.py")
    )
    assert {"tools.E001", "audit.E001", "rampart.E001"} <= ids
    assert {each for each in ids if f'"{each}"' not in tests} == set()


@pytest.mark.django_db
def test_every_change_of_the_models_has_its_migration() -> None:
    out = StringIO()
    call_command("makemigrations", "--check", "--dry-run", stdout=out)
    assert out.getvalue() == "No changes detected\n"


def test_every_module_says_what_it_is_for() -> None:
    """But for Django's own kinds, whose name says it."""
    silent = {"apps.py", "__init__.py", "urls.py"}
    for path, tree in trees().items():
        if path.rpartition("/")[2] not in silent:
            assert ast.get_docstring(tree), path
