"""The first-party code as trees."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
ROOMS = ("rampart", "approvals", "tools", "audit", "sandbox")


@cache
def trees() -> dict[str, ast.Module]:
    """Every first-party module by its path in the repository; migrations are Django's."""
    paths = [ROOT / "manage.py"]
    for room in ROOMS:
        paths += sorted((ROOT / room).rglob("*.py"))
    return {
        str(path.relative_to(ROOT)): ast.parse(path.read_text())
        for path in paths
        if "migrations" not in path.parts
    }


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every module imported below a node, and in which line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "." * node.level, node.lineno


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function below a node."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call below a node with the last word of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            yield name, node


def keywords(call: ast.Call) -> set[str]:
    """The names of a call's keyword arguments."""
    return {keyword.arg for keyword in call.keywords if keyword.arg}
