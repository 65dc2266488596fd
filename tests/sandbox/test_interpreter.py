"""What programs of exec can do, what they are told, and that they get nowhere else."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from sandbox.language import LARGEST_CODE
from sandbox.library import IMPORTABLE
from sandbox.limits import STANDARD
from sandbox.outcomes import Status
from sandbox.profiles import STRICT
from tests.sandbox.programs import BENIGN, ESCAPES

LONG = 60
MEBIBYTE = 1024 * 1024
ROOMY = replace(STANDARD, result_bytes=2 * MEBIBYTE)


@pytest.fixture
def run(workshop_of_programs):
    """Run a program in a process of its own, and give what it answers."""

    def do(code, do="program"):
        job = {"do": do, "code": code}
        outcome = workshop_of_programs.run(job, timeout=LONG, limits=ROOMY)
        assert outcome.status is Status.SUCCESS, outcome
        return outcome.data

    return do


# Programs that work.


@pytest.mark.feature("S5", "R6")
@pytest.mark.parametrize("name", BENIGN)
def test_an_ordinary_program_works_and_says_what_it_says_in_plain_python(run, name):
    code, said = BENIGN[name]
    answer = run(code)
    assert answer["error"] is None
    assert (answer["success"], answer["stdout"], answer["stderr"]) == (True, said, "")


def test_there_are_many_such_programs():
    assert len(BENIGN) >= 60


@pytest.mark.feature("S5", "R6")
@pytest.mark.parametrize("name", IMPORTABLE)
def test_every_module_that_is_to_be_had_can_be_imported_in_each_form(run, name):
    if name == "__future__":
        forms = "from __future__ import annotations"
    else:
        forms = f"import {name}\nimport {name} as a\nfrom {name} import *\n"
        forms += f"from {name} import {SOME_NAME[name]}"
    answer = run(forms)
    assert answer["error"] is None


SOME_NAME = {
    "abc": "ABC", "base64": "b64encode", "binascii": "crc32", "bisect": "insort",
    "calendar": "isleap",
    "cmath": "pi", "collections": "deque", "collections.abc": "Mapping", "contextlib": "suppress",
    "copy": "deepcopy",
    "csv": "reader", "dataclasses": "dataclass", "datetime": "date", "decimal": "Decimal",
    "difflib": "ndiff", "enum": "Enum", "fractions": "Fraction", "functools": "reduce",
    "hashlib": "sha256", "heapq": "heappush", "html": "escape", "io": "StringIO",
    "itertools": "chain", "json": "dumps", "math": "pi", "numbers": "Number", "operator": "add",
    "pprint": "pprint", "random": "random", "re": "sub", "statistics": "mean",
    "string": "digits", "textwrap": "fill", "time": "sleep",
    "types": "SimpleNamespace", "typing": "Any",
    "unicodedata": "name", "uuid": "uuid4", "zlib": "crc32",
}  # fmt: skip


@pytest.mark.feature("S5")
def test_what_libraries_import_late_is_in_memory_before_the_jail_is_shut(workshop_of_programs):
    """In the strict profile: there is no disk to read a module from."""
    late = (
        "import datetime, time, uuid, random, hashlib\n"
        "datetime.datetime.strptime('2024', '%Y'); time.strptime('2024', '%Y')\n"
        "uuid.uuid4(); random.seed(); hashlib.new('sha3_256', b'').hexdigest()\n"
        "['x'.encode(c).decode(c) for c in ('utf-16', 'latin-1', 'cp1252', 'utf-8-sig')]"
    )
    job = {"do": "program", "code": late}
    outcome = workshop_of_programs.run(job, timeout=LONG, profile=STRICT)
    assert outcome.status is Status.SUCCESS, outcome
    assert outcome.data["error"] is None
    assert outcome.data["value"] == ["x"] * 4


# Ways out.


@pytest.mark.feature("S1", "R2")
@pytest.mark.parametrize("name", ESCAPES)
def test_a_way_out_is_shut(run, name):
    answer = run(ESCAPES[name])
    assert "ESCAPED" not in answer["stdout"]
    assert "ESCAPED" not in str(answer["value"])


@pytest.mark.parametrize("name", ESCAPES)
def test_the_same_way_is_open_in_plain_python(run, name):
    """Else the test above would prove nothing."""
    assert "ESCAPED" in run(ESCAPES[name], do="plain")


def test_there_are_many_ways():
    assert len(ESCAPES) >= 75


@pytest.mark.feature("S1", "S2")
def test_nothing_forbidden_is_within_reach_of_what_a_program_has(run):
    """Everything is read that can be read, some steps deep, by the guards alone."""
    reach = run("", do="within_reach")
    assert reach["seen"] > 5000
    assert reach["found"] == []


@pytest.mark.feature("S1")
@pytest.mark.parametrize(
    "code",
    [
        "said.write('ESCAPED' + open('/etc/hostname').read())",
        "said.write('ESCAPED' + str(os.listdir('/')))",
        "said.write('ESCAPED' + str(os.system('true')))",
        "said.write('ESCAPED' + str(os.fork()))",
        "import ctypes; said.write('ESCAPED' + str(ctypes.CDLL(None)))",
        "import socket; said.write('ESCAPED' + str(socket.socket()))",
        "import subprocess; said.write('ESCAPED' + str(subprocess.run('true')))",
        "exec('().__class__.__subclasses__', {}); said.write('ESCAPED')",
        "def f(): pass\nsaid.write('ESCAPED' + str(f.__code__))",
        "os.kill(os.getppid(), 0); said.write('ESCAPED')",
    ],
)
def test_an_alarm_stops_what_a_program_past_the_guards_does(run, code):
    said = run(code, do="program_in_an_open_language")
    assert said.startswith(("PermissionError: Blocked: ", "ImportError: Blocked import"))


# What a program is told.


def test_the_value_is_the_last_expressions(run):
    assert run("x = 2\n{'a': [x, None, True], 1: (1.5,)}")["value"] == {
        "a": [2, None, True],
        "1": [1.5],
    }
    assert run("x = 2")["value"] is None
    assert run("")["value"] is None


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("{1, 2}", "{1, 2}"),
        ("float('nan')", "nan"),
        ("'\\ud800'", "'\\ud800'"),
        ("1 + 2j", "(1+2j)"),
        ("class A:\n    def __repr__(self): return 'mine'\nA()", "mine"),
        ("class A:\n    def __repr__(self): raise SystemExit\nA()", "(it cannot be shown)"),
        ("class A:\n    def __repr__(self): return 1\nA()", "(it cannot be shown)"),
        ("class D(dict):\n    def items(self): raise KeyboardInterrupt\nD(a=1)", "{'a': 1}"),
        ("a = []\na.append(a)\na", "[[...]]"),
        ("10 ** 5000", "(it cannot be shown)"),
    ],
)
def test_a_value_that_is_no_json_is_shown_as_its_repr(run, code, shown):
    assert run(code)["value"] == shown


@pytest.mark.parametrize("around", ["[x]", "{'a': x}", "(1, x)"])
def test_a_value_is_told_as_its_repr_beyond_64_lists_in_each_other(run, around):
    code = f"x = 1\nfor _ in range(TIMES):\n    x = {around}\nx"
    assert not isinstance(run(code.replace("TIMES", "64"))["value"], str)
    assert isinstance(run(code.replace("TIMES", "65"))["value"], str)


def test_a_large_value_is_cut(run):
    assert run("'x' * 100_000")["value"] == "'" + "x" * 4095
    assert run("'x' * 60_000")["value"] == "x" * 60_000


def test_a_fault_is_told_with_the_programs_own_lines(run):
    answer = run("import json\ndef f(text):\n    return json.loads(text)\n\nf('{')")
    assert answer["error"].startswith("JSONDecodeError: Expecting property name")
    assert answer["stderr"] == (
        "Traceback (most recent call last):\n"
        '  File "<exec>", line 5, in <module>\n'
        "    f('{')\n"
        '  File "<exec>", line 3, in f\n'
        "    return json.loads(text)\n"
        f"{answer['error']}\n"
    )


def test_what_was_said_before_a_fault_is_kept(run):
    answer = run("print('before')\n1 / 0")
    assert (answer["success"], answer["stdout"]) == (False, "before\n")
    assert answer["error"] == "ZeroDivisionError: division by zero"


@pytest.mark.feature("S2")
def test_a_refused_program_is_told_why(run):
    answer = run("import os")
    assert answer["error"] == "Blocked import: os"
    assert answer["stderr"] == "Blocked import: os\n"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("class B(BaseException): pass\nraise B('b')", "B: b"),
        ("def f(): f()\nf()", "RecursionError: maximum recursion depth exceeded"),
        (
            "class E(Exception):\n    def __str__(self): raise E\nraise E",
            "E: (its message cannot be printed)",
        ),
        (
            "class M(type):\n    @property\n    def __name__(cls): raise SystemExit\n"
            "class E(Exception, metaclass=M): pass\nraise E('x')",
            "Exception: x",
        ),
        ("raise ValueError('\\ud800')", "ValueError: ?"),
        ("raise MemoryError", "MemoryError"),
        ("undefined", "NameError: name 'undefined' is not defined"),
        ("open", None),
        ("input is None and 1 / 0", "ZeroDivisionError: division by zero"),
        ("return 1", "SyntaxError: 'return' outside function (line 1)"),
        (
            "def f(a, a): pass",
            "SyntaxError: duplicate argument 'a' in function definition (line 1)",
        ),
        (
            "match x:\n    case A.format: pass",
            "SyntaxError: patterns may only match literals and attribute lookups",
        ),
    ],
)  # fmt: skip
def test_every_end_is_an_orderly_answer(run, code, error):
    assert run(code)["error"] == error


def test_an_endless_message_is_cut(run):
    assert run("raise ValueError('m' * 50_000_000)")["error"] == "ValueError: " + "m" * 4096


def test_a_long_traceback_shows_both_ends(run):
    answer = run("def f(): f()\nf()")
    assert answer["stderr"].count("\n") < 60
    assert " more\n" in answer["stderr"]


def test_a_program_that_catches_everything_is_ended_at_its_deadline(workshop_of_programs):
    code = "while True:\n    try:\n        while True: pass\n    except BaseException: pass"
    outcome = workshop_of_programs.run({"do": "program", "code": code}, timeout=0.5)
    assert outcome.status is Status.TIMEOUT


# Output.


@pytest.mark.feature("S6", "R5")
def test_print_and_the_libraries_go_to_the_programs_own_streams(run):
    code = (
        "import io, pprint\nfrom contextlib import redirect_stderr, redirect_stdout\n"
        "print(1, 2, sep='-', end='!\\n')\npprint.pprint([1])\n"
        "inner = io.StringIO()\n"
        "with redirect_stdout(inner): print('inside')\n"
        "print(repr(inner.getvalue()), file=inner)\nprint('after')"
    )
    assert run(code)["stdout"] == "1-2!\n[1]\nafter\n"


def test_a_mebibyte_of_output_is_kept_whole(run):
    answer = run(f"print('x' * {MEBIBYTE - 1})")
    assert (len(answer["stdout"]), answer["truncated"]) == (MEBIBYTE, False)


@pytest.mark.parametrize("character", ["x", "é"])
def test_of_more_the_first_half_million_characters_are_kept(run, character):
    answer = run(f"for _ in range(3000): print({character!r} * 1000, end='')")
    assert (answer["stdout"], answer["truncated"]) == (character * 500_000, True)


def test_output_that_grows_as_json_is_cut_to_what_a_result_may_hold(run):
    answer = run("print('\\0' * 1_000_000, end='')")
    assert answer["truncated"]
    assert 100_000 < len(answer["stdout"]) <= 1_900_000 // 6
    assert set(answer["stdout"]) == {"\0"}


def test_caps_are_the_callers(run):
    answer = run("print('x' * 101)\nlist(range(100))", do="program_with_small_caps")
    assert (len(answer["stdout"]), answer["truncated"]) == (40, True)
    assert answer["value"] == repr(list(range(100)))


def test_half_a_surrogate_pair_is_printed_as_a_question_mark(run):
    assert run("print('\\ud800')")["stdout"] == "?\n"


@pytest.mark.feature("S6", "R5")
def test_twenty_programs_at_once_see_only_their_own_output(run):
    def one(number):
        code = f"import time\nfor i in range(20): print('program {number}'), time.sleep(0.002)"
        return run(code)["stdout"]

    with ThreadPoolExecutor(20) as pool:
        said = list(pool.map(one, range(20)))
    assert said == [f"program {number}\n" * 20 for number in range(20)]


@pytest.mark.feature("R5")
def test_nothing_of_a_program_is_left_for_the_next(run):
    run("import json, enum\nleft = 1\nclass A: pass")
    assert run("left")["error"] == "NameError: name 'left' is not defined"


@pytest.mark.feature("S4")
def test_code_of_exactly_the_largest_size_runs(run):
    code = "x = 1 #" + "é" * ((LARGEST_CODE - 7 - 2) // 2) + "\nx"
    code += " " * (LARGEST_CODE - len(code.encode()))
    assert len(code.encode()) == LARGEST_CODE
    assert run(code)["value"] == 1
    assert run(code + " ")["error"] == "Code too large: 10241 > 10240 bytes"
