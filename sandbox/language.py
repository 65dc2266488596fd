"""The language layer of exec: which Python is run, and what a program is told that is not.

Comfort and depth, not the wall: a clear message instead of a killed process, and one thing more
to get through. The kernel's layers hold without it.

Whatever is not known is refused, so that a newer Python's syntax is shut until somebody has
looked at it. Names are looked at in every field of every node, because most ways out of such a
layer were identifiers in a place that nobody had thought of.
"""

import ast
import warnings
from collections.abc import Iterable, Iterator


def words(text: str) -> frozenset[str]:
    """The words of a text: a long row of names without its quotes and commas."""
    return frozenset(text.split())


LARGEST_CODE = 10_240
"""Bytes of UTF-8."""

GET, WRITE, CHANGE = "<get>", "<write>", "<change>"
"""Names that no program can say: of the guards that `guarded` puts into its tree."""

WATCHED = frozenset({"format", "format_map", "register", "obj", "__new__", "__getattr__",
                     "__setattr__", "__delattr__", "__set__", "__delete__",
                     "__set_name__"})  # fmt: skip
"""Attributes that are harmless on nearly every object, so each is judged when it is read.

So is every name of one underscore: a program's own, or the inside of a library.
"""

BLOCKED_MODULES = words(
    "socket requests urllib urllib2 http httpx subprocess multiprocessing os sys shutil pickle "
    "marshal ctypes importlib __builtin__ builtins imp pkgutil pydoc runpy zipimport"
)
BLOCKED_CALLS = words(
    "eval exec compile __import__ open file input raw_input execfile reload exit quit"
)

DUNDERS = frozenset(
    f"__{name}__"
    for name in words(
        # what a class may say of itself
        "init new repr str bytes format bool len length_hint iter next reversed contains getitem "
        "setitem delitem missing call enter exit hash eq ne lt le gt ge add radd iadd sub rsub "
        "isub mul rmul imul truediv rtruediv itruediv floordiv rfloordiv ifloordiv mod rmod imod "
        "divmod rdivmod pow rpow ipow matmul rmatmul imatmul and rand iand or ror ior xor rxor "
        "ixor lshift rlshift ilshift rshift rrshift irshift neg pos abs invert int float complex "
        "index round trunc floor ceil getattr setattr delattr get set delete set_name dir copy "
        "deepcopy init_subclass class_getitem slots post_init members "
        # what is only said about a thing
        "name qualname doc all version author cause context suppress_context notes"
    )
)
"""The only names with two underscores at either end; the rest lead into the interpreter.

Not `__match_args__`, `__instancecheck__` and `__subclasshook__`: a pattern would read any
attribute. Not `__reduce__` and its kin: `copy` would write any.
"""

_INTERNALS = words(
    "_convert_ _is_protocol _is_runtime_protocol "
    "mro gi_frame gi_code gi_running gi_suspended gi_yieldfrom cr_frame cr_code cr_await cr_origin "
    "cr_running cr_suspended ag_frame ag_code ag_await ag_running tb_frame tb_next tb_lasti "
    "tb_lineno f_back f_builtins f_code f_globals f_locals f_lasti f_lineno f_trace f_trace_lines "
    "f_trace_opcodes f_generator co_argcount co_cellvars co_code co_consts co_exceptiontable "
    "co_filename co_firstlineno co_flags co_freevars co_lines co_linetable co_lnotab co_names "
    "co_nlocals co_positions co_qualname co_stacksize co_varnames"
)

_NODES = words(
    "Module Expr FunctionDef ClassDef Return Delete Assign AugAssign AnnAssign For While If With "
    "Match Raise Try Assert Import ImportFrom Global Nonlocal Pass Break Continue BoolOp NamedExpr "
    "BinOp UnaryOp Lambda IfExp Dict Set ListComp SetComp DictComp GeneratorExp Yield YieldFrom "
    "Compare Call FormattedValue JoinedStr Constant Attribute Subscript Starred Name List Tuple "
    "Slice Load Store Del And Or Add Sub Mult MatMult Div Mod Pow LShift RShift BitOr BitXor "
    "BitAnd FloorDiv Invert Not UAdd USub Eq NotEq Lt LtE Gt GtE Is IsNot In NotIn comprehension "
    "ExceptHandler arguments arg keyword alias withitem match_case MatchValue MatchSingleton "
    "MatchSequence MatchMapping MatchClass MatchStar MatchAs MatchOr"
)
_SPOKEN = {"TryStar": "except*", "AsyncFunctionDef": "async def", "AsyncFor": "async for",
           "AsyncWith": "async with", "Await": "await"}  # fmt: skip


class Refused(Exception):
    """The program is not run; the message says why."""


def checked(code: str, importable: Iterable[str]) -> ast.Module:
    """The program's tree, or Refused with its first fault in the order of reading."""
    _check_size(code)
    tree = _parsed(code)
    nodes = list(_in_order(tree))
    look = _Look(nodes, frozenset(importable))
    for node in nodes:
        if fault := look.fault(node):
            raise Refused(fault)
    return tree


def faults_in(code: str, importable: Iterable[str] = ()) -> str | None:
    """What `checked` would refuse the program for."""
    try:
        checked(code, importable)
    except Refused as refusal:
        return str(refusal)
    return None


def guarded(tree: ast.Module) -> ast.Module:
    """The same program, asking before it writes an attribute or reads one of `WATCHED`."""
    for node in reversed(list(_in_order(tree))):  # what is inside before what is around it
        for name, value in ast.iter_fields(node):
            if isinstance(value, list):
                value[:] = [_asking(each) for each in value]
            else:
                setattr(node, name, _asking(value))
        _ask_before_change(node)
    return tree


def is_permitted(name: str) -> bool:
    """Whether a program may say this identifier, wherever it stands."""
    if len(name) > 4 and name.startswith("__") and name.endswith("__"):
        return name in DUNDERS
    return name not in _INTERNALS


def is_watched(name: str) -> bool:
    """Whether reading an attribute of this name is left to a guard."""
    return name in WATCHED or (name.startswith("_") and not name.startswith("__"))


def _check_size(code: str) -> None:
    try:
        size = len(code.encode())
    except UnicodeEncodeError:
        raise Refused("Code is not text: half a surrogate pair has no encoding") from None
    if size > LARGEST_CODE:
        raise Refused(f"Code too large: {size} > {LARGEST_CODE} bytes")


def _parsed(code: str) -> ast.Module:
    try:
        with warnings.catch_warnings():  # about a doubtful escape: the program's own business
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except SyntaxError as error:
        where = f" (line {error.lineno})" if error.lineno else ""
        raise Refused(f"{type(error).__name__}: {error.msg}{where}") from None
    except ValueError as error:  # a null character
        raise Refused(f"SyntaxError: {error}") from None
    except (MemoryError, RecursionError):
        raise Refused("SyntaxError: the code is nested too deeply") from None


def _in_order(tree: ast.AST) -> Iterator[ast.AST]:
    """Each node before what is in it, in the order of reading; a deep tree costs no stack."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(list(ast.iter_child_nodes(node))))


class _Look:
    """Judges one node at a time, knowing the names that the whole program binds."""

    def __init__(self, nodes: Iterable[ast.AST], importable: frozenset[str]) -> None:
        self._importable = importable
        self._bound = {name for node in nodes for name in _names_bound_by(node)}

    def fault(self, node: ast.AST) -> str | None:
        kind = type(node).__name__
        if kind not in _NODES or getattr(node, "is_async", False):
            return f"Blocked syntax: {_SPOKEN.get(kind, kind)}"
        match node:
            case ast.Import(names=names):
                return self._first_blocked(alias.name for alias in names)
            case ast.ImportFrom(module=module, level=level):
                return self._first_blocked(["" if level else module or ""])
            case ast.Call():
                return self._fault_of_call(node)
            case ast.AugAssign(target=ast.Attribute(attr=name)) if name in WATCHED:
                return f"Blocked attribute access: {name}"  # it reads before it writes
            case ast.Subscript(value=ast.Name(id="__builtins__"), slice=key):
                return f"Blocked dictionary access to builtin: {_shown(key)}"
        return _name_fault(node, _identifiers(node))

    def _first_blocked(self, modules: Iterable[str]) -> str | None:
        for module in modules:
            top = module.partition(".")[0]
            if top in BLOCKED_MODULES or not top:
                return f"Blocked import: {top or 'a relative name'}"
            if module not in self._importable:
                known = " ".join(sorted(self._importable))
                return f"Blocked import: {module} (to be had: {known})"
        return None

    def _fault_of_call(self, call: ast.Call) -> str | None:
        match call:
            case ast.Call(ast.Name("getattr"), [ast.Name("__builtins__"), name, *_]):
                return f"Blocked dynamic access to builtin: {_shown(name)}"
            case ast.Call(ast.Name(name)) if name in BLOCKED_CALLS:
                return f"Blocked function call: {name}()"
            case ast.Call(ast.Attribute() as function):
                if _root(function) in BLOCKED_MODULES - self._bound:
                    return f"Blocked module call: {ast.unparse(function)}()"
        return None


def _identifiers(node: ast.AST) -> Iterator[str]:
    """Every text in a node's fields but a literal's, so that none is missed for being new."""
    if isinstance(node, ast.Constant):
        return
    for _, value in ast.iter_fields(node):
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, str):
                yield from each.split(".")


def _name_fault(node: ast.AST, names: Iterable[str]) -> str | None:
    for name in names:
        if not is_permitted(name):
            is_attribute = isinstance(node, ast.Attribute | ast.MatchClass)
            return f"Blocked {'attribute access' if is_attribute else 'name'}: {name}"
    if isinstance(node, ast.MatchClass):
        for name in filter(is_watched, node.kwd_attrs):
            return f"Blocked attribute access: {name}"
    return None


def _names_bound_by(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
            yield name
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.alias(asname=str(name)):
            yield name


def _root(node: ast.expr) -> str | None:
    """The name in which a dotted expression begins, if it begins in one."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _shown(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return ast.unparse(node)[:80]


def _asking(node: object) -> object:
    """The guard's call in the place of an attribute that is watched; others as they are."""
    if not isinstance(node, ast.Attribute):
        return node
    if isinstance(node.ctx, ast.Load):
        if not is_watched(node.attr):
            return node
        return _call(GET, node, node.value, ast.Constant(node.attr))
    node.value = _call(WRITE, node, node.value)
    return node


def _ask_before_change(node: ast.AST) -> None:
    """`owner._name += 1` reads what it then writes."""
    match node:
        case ast.AugAssign(target=ast.Attribute(attr=name) as target) if is_watched(name):
            target.value = _call(CHANGE, target, target.value, ast.Constant(name))


def _call(guard: str, place: ast.expr, *arguments: ast.expr) -> ast.Call:
    call = ast.Call(ast.Name(guard, ast.Load()), list(arguments), [])
    for node in (call, call.func, *arguments[1:]):
        ast.copy_location(node, place)
    return call
