"""Which programs the language layer refuses, and what it says."""

import _ast
import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import language, library
from sandbox.language import BLOCKED_CALLS, BLOCKED_MODULES, LARGEST_CODE, faults_in, words

MODULES = words(
    "socket requests urllib urllib2 http httpx subprocess multiprocessing os sys shutil pickle "
    "marshal ctypes importlib __builtin__ builtins imp pkgutil pydoc runpy zipimport"
)
CALLS = words("eval exec compile __import__ open file input raw_input execfile reload exit quit")

pytestmark = pytest.mark.feature("S2")


def fault(code):
    return faults_in(code, library.IMPORTABLE)


# The gateway's names and phrases.


def test_the_lists_are_the_gateways():
    assert MODULES == BLOCKED_MODULES
    assert CALLS == BLOCKED_CALLS


@pytest.mark.parametrize("name", sorted(MODULES))
@pytest.mark.parametrize(
    "form",
    [
        "import {}",
        "import math, {}",
        "import {}.x as y",
        "from {} import x",
        "from {}.x import y",
        "def f():\n    import {}",
        "try:\n    from {} import *\nexcept Exception: pass",
    ],
)
def test_a_blocked_module_is_refused_by_its_first_part(name, form):
    assert fault(form.format(name)) == f"Blocked import: {name}"


@pytest.mark.parametrize("name", sorted(CALLS))
@pytest.mark.parametrize("form", ["{}()", "x = [{}('1')]", "def f(): return {}(1)", "f'{{{}()}}'"])
def test_a_blocked_function_is_refused_where_it_is_called(name, form):
    assert fault(form.format(name)) == f"Blocked function call: {name}()"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_call_in_a_blocked_module_is_refused_without_its_import(name):
    assert fault(f"{name}.system('x')") == f"Blocked module call: {name}.system()"


def test_a_call_below_a_blocked_module_is_named_whole():
    assert fault("os.path.join('a')") == "Blocked module call: os.path.join()"


@pytest.mark.parametrize(
    "code", ["getattr(__builtins__, 'eval')", "getattr(__builtins__, 'eval', 0)(1)"]
)
def test_builtins_by_getattr_are_refused(code):
    assert fault(code) == "Blocked dynamic access to builtin: eval"


def test_builtins_by_a_computed_name_are_refused():
    said = fault("getattr(__builtins__, 'ev' + 'al')")
    assert said == "Blocked dynamic access to builtin: 'ev' + 'al'"


@pytest.mark.parametrize("code", ["__builtins__['eval']", "__builtins__['eval']('1')"])
def test_builtins_by_a_key_are_refused(code):
    assert fault(code) == "Blocked dictionary access to builtin: eval"


def test_the_first_fault_in_the_order_of_reading_is_told():
    assert fault("import os\nos.system('x')") == "Blocked import: os"
    assert fault("x = os.getcwd()\nimport os") == "Blocked module call: os.getcwd()"


def test_a_module_that_is_not_there_is_refused_with_those_that_are():
    said = fault("import numpy as np")
    assert said.startswith("Blocked import: numpy (to be had: ")
    assert " statistics " in said


def test_a_relative_import_is_refused():
    assert fault("from . import x") == "Blocked import: a relative name"
    assert fault("from .os import x") == "Blocked import: a relative name"


def test_names_that_the_program_gives_itself_are_its_own():
    assert fault("requests = []\nrequests.append(1)") is None
    assert fault("def f(http): return http.get(1)") is None
    assert fault("class A:\n    def open(self): ...\nA().open()") is None


# Size and encoding.


@pytest.mark.feature("S4")
def test_code_of_exactly_the_largest_size_is_looked_at():
    assert fault("#" * LARGEST_CODE) is None
    assert fault("#" + "é" * (LARGEST_CODE // 2 - 1)) is None


@pytest.mark.feature("S4")
def test_one_byte_more_is_refused_whatever_it_is_made_of():
    assert fault("#" * (LARGEST_CODE + 1)) == "Code too large: 10241 > 10240 bytes"
    assert fault("#é" + "é" * 5119) == "Code too large: 10241 > 10240 bytes"
    assert fault("(" * 20_000) == "Code too large: 20000 > 10240 bytes"


def test_half_a_surrogate_pair_is_no_code():
    assert fault("'\ud800'") == "Code is not text: half a surrogate pair has no encoding"


@pytest.mark.parametrize(
    "code", ["def", "1 +", "x = = 1", "\0", "return 1\0", "'", "f'{'", "if x:\ny"]
)
def test_what_is_no_python_is_told_as_python_tells_it(code):
    assert fault(code).startswith(("SyntaxError: ", "IndentationError: "))


@pytest.mark.parametrize(
    "code", ["(" * 10_000, "-" * 10_000 + "1", "[" * 199 + "]" * 199, "not " * 2500 + "1"]
)
def test_nesting_ends_in_a_refusal_or_in_order(workshop_of_programs, code):
    """In a child: a parser that falls over must cost no more than that."""
    outcome = workshop_of_programs.run({"do": "faults", "code": code}, timeout=60)
    assert outcome.error_type in ("", "Crashed")
    assert outcome.data is None or "nested" in outcome.data or "SyntaxError" in outcome.data


# Nothing that is unknown.

_SHAPES = """
import math
from math import sqrt as root
class A(object, metaclass=type):
    x: int = 1
    def f(self, a, /, b=1, *c, d, **e):
        global G; nonlocal_ = 1
        return [*c], {**e}, {1}, (yield), a[1:2:3], a @ b, -b, not b, a if b else c
def g(n):
    def h():
        nonlocal n
        n += 1
    del n
    if n:
        yield from (i for i in [])
    else:
        (lambda: 0)()
"""
_REST = """
for i in []:
    continue
else:
    pass
while 0:
    break
with a as b:
    raise E from None
try:
    assert x, y
except E as e:
    pass
match x:
    case 1 | "a" | None | A.b: pass
    case [1, *r] | {"k": v, **q} | A(1, z=2) | _: pass
(w := 1) + 2 - 3 * 4 / 5 // 6 % 7 ** 8 << 9 >> 10 | 11 ^ 12 & 13 and 14 or 15
1 < 2 <= 3 > 4 >= 5 == 6 != 7 is 8 is not 9 in (10,) not in [11]
f"{x!r:>{w}}", {k: v for k, v in []}, {k for k in []}, [k for k in []], ~x, +x
"""
REFUSED_SYNTAX = {"TryStar": "except*", "AsyncFunctionDef": "async def", "AsyncFor": "async for",
                  "AsyncWith": "async with", "Await": "await"}  # fmt: skip


def test_every_kind_of_node_is_known_or_refused():
    """Whatever this Python's grammar has: each is in use above, or is refused by name."""
    used = {type(node).__name__ for code in (_SHAPES, _REST) for node in ast.walk(ast.parse(code))}
    concrete = {
        name
        for name, kind in vars(ast).items()
        if isinstance(kind, type) and issubclass(kind, ast.AST) and not kind.__subclasses__()
        if hasattr(_ast, name)  # the others are names of older Pythons
    }
    unused = concrete - used - {"AST", "Interactive", "Expression", "FunctionType", "TypeIgnore"}
    assert unused == set(REFUSED_SYNTAX)
    assert fault(_SHAPES) is None
    assert fault(_REST) is None


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("try: pass\nexcept* ValueError: pass", "except*"),
        ("async def f(): pass", "async def"),
        ("def f():\n    async def g():\n        await x", "async def"),
    ],
)
def test_syntax_that_is_shut_is_named(code, said):
    assert fault(code) == f"Blocked syntax: {said}"


def test_an_asynchronous_comprehension_is_refused_where_no_async_def_is_around_it():
    tree = ast.parse("[x for x in y]")
    tree.body[0].value.generators[0].is_async = 1
    look = language._Look([], frozenset())
    assert "Blocked syntax: comprehension" in [look.fault(node) for node in ast.walk(tree)]


def test_a_node_of_a_newer_python_is_refused():
    class TemplateStr(ast.expr):
        _fields = ("name",)

    tree = ast.Module([ast.Expr(TemplateStr(name="x"))], [])
    look = language._Look([], frozenset())
    assert "Blocked syntax: TemplateStr" in [look.fault(node) for node in ast.walk(tree)]


# Names in every place that a name can stand.

PLACES = [
    "{}",
    "{} = 1",
    "x.{}",
    "x.{} = 1",
    "del x.{}",
    "f({}=1)",
    "def {}(): pass",
    "def f({}): pass",
    "def f(*{}): pass",
    "def f(**{}): pass",
    "def f(*, {}=1): pass",
    "lambda {}: 1",
    "class {}: pass",
    "class A(x={}): pass",
    "class A({}=1): pass",
    "import math as {}",
    "from math import {}",
    "from math import pi as {}",
    "global {}",
    "def f():\n    nonlocal {}",
    "for {} in x: pass",
    "with x as {}: pass",
    "try: pass\nexcept E as {}: pass",
    "({} := 1)",
    "[1 for {} in x]",
    "match x:\n    case {}: pass",
    "match x:\n    case [*{}]: pass",
    "match x:\n    case {{**{}}}: pass",
    "match x:\n    case A({}=1): pass",
    "match x:\n    case A.{}: pass",
    "match x:\n    case {}(): pass",
    "match x:\n    case 1 as {}: pass",
    "f'{{{}}}'",
    "f'{{x.{}}}'",
    "f'{{x:{{y.{}}}}}'",
    "{}: int = 1",
    "x: {}.y = 1",
    "def f() -> {}: pass",
    "@{}\ndef f(): pass",
    "x[{}]",
    "x.y.{}()",
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "name",
    [
        "__class__",
        "__globals__",
        "__match_args__",
        "__reduce_ex__",
        "__unheard_of__",
        "tb_frame",
        "gi_frame",
        "f_globals",
        "cr_frame",
        "ag_frame",
        "co_consts",
        "mro",
    ],
)
def test_a_way_into_the_interpreter_is_refused_wherever_it_is_named(place, name):
    said = fault(place.format(name))
    assert said in (f"Blocked name: {name}", f"Blocked attribute access: {name}")


@pytest.mark.parametrize("place", PLACES)
def test_the_same_places_take_an_ordinary_name(place):
    assert fault(place.format("name")) is None


@pytest.mark.parametrize("spelling", ["__ｃlass__", "__𝔠lass__", "_＿class__"])
def test_a_name_is_judged_as_python_reads_it(spelling):
    assert fault(f"x.{spelling}") == "Blocked attribute access: __class__"


def test_the_names_of_a_class_body_are_free():
    for name in words("init repr str eq lt len iter next contains call getitem enter exit add"):
        assert fault(f"class A:\n    def __{name}__(self): pass") is None
    assert fault("x = __name__\nx.__name__\n__x = ___y = __ = _ = 1") is None


@given(st.from_regex(r"__[a-z_]{1,20}__", fullmatch=True))
def test_no_other_name_with_two_underscores_at_either_end_is_free(name):
    assert language.is_permitted(name) == (name in language.DUNDERS)


# Guards in the tree.


def guards_in(code):
    tree = language.guarded(language.checked(code, library.IMPORTABLE))
    compile(ast.fix_missing_locations(tree), "<test>", "exec")
    return ast.unparse(tree)


@pytest.mark.parametrize(
    ("code", "asks"),
    [
        ("x.format(1)", "<get>(x, 'format')(1)"),
        ("x.format.format", "<get>(<get>(x, 'format'), 'format')"),
        ("x.y.format_map", "<get>(x.y, 'format_map')"),
        ("x.y = 1", "<write>(x).y = 1"),
        ("x.y.z = 1", "<write>(x.y).z = 1"),
        ("x.y += 1", "<write>(x).y += 1"),
        ("del x.y", "del <write>(x).y"),
        ("x.format = 1", "<write>(x).format = 1"),
        ("x.obj.y = 1", "<write>(<get>(x, 'obj')).y = 1"),
        ("x.y", "x.y"),
        ("f'{x.obj}'", "f\"{<get>(x, 'obj')}\""),
    ],
)
def test_a_watched_read_and_every_write_ask_first(code, asks):
    assert guards_in(code) == asks


@pytest.mark.parametrize(
    "code", ["for x.y in z: pass", "with a as x.y: pass", "x.y, (z.w, *v.u) = 1", "x.y: int = 1"]
)
def test_no_way_to_write_an_attribute_is_left_out(code):
    written = language.guarded(language.checked(code, ()))
    targets = [node for node in ast.walk(written) if isinstance(node, ast.Attribute)]
    assert targets
    for target in targets:
        assert ast.unparse(target.value).startswith("<write>(")


@pytest.mark.parametrize("name", ["format", "obj", "register"])
def test_a_watched_attribute_is_not_read_while_it_is_written_or_matched(name):
    said = f"Blocked attribute access: {name}"
    assert fault(f"x.{name} += 1") == said
    assert fault(f"match x:\n    case A({name}=f): pass") == said
