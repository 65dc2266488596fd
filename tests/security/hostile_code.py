"""Code that keeps to the language and is hostile all the same: bombs, floods, hangs and forgeries.

Each says how it may end. `ANSWERS`: the code comes to its own end or raises; `STOPPED`: a limit
ends it, inside (its own MemoryError or the like) or from outside.
"""

from typing import NamedTuple

ANSWERS = frozenset({"success"})
STOPPED = frozenset({"success", "timeout", "killed"})
"""A bomb that raises inside is a run that answered; what it must never do is succeed as data."""


class Hostile(NamedTuple):
    """One payload."""

    name: str
    code: str
    may_end: frozenset[str] = STOPPED
    succeeds: bool | None = False
    """What its `success` must say; None where either is fine."""


LOOPS = [
    ("while", "while True:\n    pass"),
    ("for over an endless iterator", "for _ in iter(int, 1):\n    pass"),
    ("a generator without end", "def g():\n    while True:\n        yield 1\nsum(g())"),
    ("catches everything", "while True:\n    try:\n        1 / 0\n    except:\n        pass"),
    ("catches its own death", "def f():\n    try:\n        f()\n    except BaseException:\n        f()\nf()"),
    ("finally goes on", "while True:\n    try:\n        raise KeyboardInterrupt\n    finally:\n        continue"),
    ("a number too large to square", "x = 3\nwhile True:\n    x = x * x"),
    ("one long power", "print(len(str(7 ** (10 ** 8))) if 0 else 7 ** (10 ** 8) % 3)"),
    ("a sum in C", "sum(range(10 ** 12))"),
    ("all in C", "all(x >= 0 for x in range(10 ** 12))"),
    ("max in C", "max(range(10 ** 12))"),
    ("count in C", "import itertools\nprint(len(list(itertools.islice(itertools.count(), 10 ** 11, None))))"),
    ("a product in C", "import itertools\nfor x in itertools.product(range(100), repeat=100):\n    pass"),
    ("factorial", "import math\nmath.factorial(10 ** 8)"),
    ("backtracking", "import re\nre.match('(a+)+$', 'a' * 60 + 'b')"),
    ("backtracking twice", "import re\nre.match('(a|aa)+$', 'a' * 80 + 'b')"),
    ("sorting with a slow key", "sorted(range(10 ** 6), key=lambda n: [m for m in range(10 ** 5)])"),
    ("comparisons without end", "class A:\n    def __eq__(self, other):\n        return self == other\nA() == A()"),
    ("hash without end", "class A:\n    def __hash__(self):\n        while True:\n            pass\nhash(A())"),
    ("a repr without end", "class A:\n    def __repr__(self):\n        while True:\n            pass\nA()"),
    ("a str without end", "class A:\n    def __str__(self):\n        while True:\n            pass\nprint(A())"),
    ("an iterator of itself", "class A:\n    def __iter__(self):\n        return self\n    def __next__(self):\n        return self\nlist(A())"),
    ("decimal digits", "import decimal\ndecimal.getcontext().prec = 10 ** 8\nprint(decimal.Decimal(1) / decimal.Decimal(3))"),
    ("a fraction that grows", "import fractions\nx = fractions.Fraction(1, 3)\nwhile True:\n    x = x * x + 1"),
    ("gcd of giants", "import math\nmath.gcd(2 ** 10 ** 7, 3 ** 10 ** 7)"),
    ("division of giants", "x = 3 ** 10 ** 7\nwhile x:\n    x = x // 7"),
    ("text of a giant", "str(2 ** (10 ** 7))"),
    ("edit distance", "import difflib\ndifflib.SequenceMatcher(None, 'ab' * 10 ** 6, 'ba' * 10 ** 6).ratio()"),
]  # fmt: skip

BOMBS = [
    ("one large text", "'a' * 10 ** 11"),
    ("one large list", "[0] * 10 ** 11"),
    ("one large tuple", "(0,) * 10 ** 11"),
    ("bytes", "bytes(10 ** 11)"),
    ("a byte array", "bytearray(10 ** 11)"),
    ("bytes that are written", "x = bytearray(b'x') * (2 * 10 ** 9)"),
    ("a list that grows", "x = []\nwhile True:\n    x.append('y' * 10 ** 6)"),
    ("a list that doubles", "x = [1]\nwhile True:\n    x += x"),
    ("a dict that grows", "x = {}\nwhile True:\n    x[len(x)] = 'y' * 10 ** 5"),
    ("a set of numbers", "x = set()\nn = 0\nwhile True:\n    n += 1\n    x.add(n)"),
    ("a text that doubles", "x = 'ab'\nwhile True:\n    x += x"),
    ("join", "''.join(str(n) * 1000 for n in range(10 ** 9))"),
    ("replace", "('a' * 10 ** 6).replace('a', 'b' * 10 ** 6)"),
    ("zfill", "'1'.zfill(10 ** 11)"),
    ("ljust", "'1'.ljust(10 ** 11)"),
    ("expandtabs", "'\\t'.expandtabs(10 ** 9) * 100"),
    ("percent width", "'%99999999999d' % 1"),
    ("format width", "format(1, '>99999999999')"),
    ("f-string width", "w = 99999999999\nf'{1:>{w}}'"),
    ("format with a field", "'{:>99999999999}'.format(1)"),
    ("shift", "1 << 10 ** 11"),
    ("nested lists", "x = []\nwhile True:\n    x = [x, x]"),
    ("itertools.tee", "import itertools\na, b = itertools.tee(itertools.count())\nfor _ in a:\n    pass"),
    ("list of permutations", "import itertools\nlist(itertools.permutations(range(12)))"),
    ("a deque", "import collections\nx = collections.deque()\nwhile True:\n    x.append('z' * 10 ** 6)"),
    ("a counter", "import collections\ncollections.Counter(str(n) for n in range(10 ** 9))"),
    ("comprehension", "[[0] * 1000 for _ in range(10 ** 9)]"),
    ("a generator kept whole", "tuple('x' * 1000 for _ in range(10 ** 9))"),
    ("json grows", "import json\nx = 'q' * 10 ** 7\nwhile True:\n    x = json.dumps(x)"),
    ("splitting", "[('a ' * 10 ** 6).split() for _ in range(10 ** 6)]"),
    ("memory behind an error", "try:\n    x = [0] * 10 ** 11\nexcept MemoryError:\n    y = []\n    while True:\n        y.append('z' * 10 ** 6)"),
    ("a large class", "type('A', (), {str(n): n for n in range(10 ** 9)})"),
    ("encode", "('é' * 10 ** 8).encode() * 100"),
    ("int of a long text", "int('9' * 10 ** 9)"),
    ("textwrap", "import textwrap\ntextwrap.indent('a\\n' * 10 ** 7, 'b' * 10 ** 4)"),
]  # fmt: skip

DEPTHS = [
    ("a function of itself", "def f():\n    return f()\nf()"),
    ("a repr of itself", "class A:\n    def __repr__(self):\n        return repr(self)\nrepr(A())"),
    ("a list of itself, shown", "x = []\nfor _ in range(10 ** 5):\n    x = [x]\nprint(x)"),
    ("json that is deep", "import json\njson.loads('[' * 10 ** 5)"),
    ("json of what is deep", "import json\nx = []\nfor _ in range(10 ** 5):\n    x = [x]\njson.dumps(x)"),
    ("a deep copy", "import copy\nx = []\nfor _ in range(10 ** 5):\n    x = [x]\ncopy.deepcopy(x)"),
    ("comparing what is deep", "x, y = [], []\nfor _ in range(10 ** 5):\n    x, y = [x], [y]\nprint(x == y)"),
    ("a property of itself", "class A:\n    @property\n    def a(self):\n        return self.a\nA().a"),
    ("getattr of itself", "class A:\n    def b(self):\n        return self.b()\nA().b()"),
    ("a pattern that is deep", "import re\nre.compile('(' * 10 ** 4 + ')' * 10 ** 4)"),
    ("sorting deep lists", "x = []\nfor _ in range(10 ** 5):\n    x = [x]\nsorted([x, [x]])"),
    ("source that is deep", "(" * 3000 + "1" + ")" * 3000),
    ("source of many signs", "-" * 9000 + "1"),
    ("source of many calls", "f" + "()" * 4000),
    ("source of many ifs", "\n".join(" " * n + "if 1:" for n in range(99)) + "\n" + " " * 99 + "1"),
]  # fmt: skip

FLOODS = [
    ("one line for ever", "while True:\n    print('x' * 1000)", STOPPED, None),
    ("one large line", "print('x' * 5_000_000)", STOPPED, True),
    ("many short lines", "for n in range(10 ** 6):\n    print(n)", STOPPED, None),
    ("no line end", "while True:\n    print('y', end='')", STOPPED, None),
    ("two-byte characters", "print('é' * 3_000_000)", STOPPED, True),
    ("a large value", "'v' * 3_000_000", STOPPED, None),
    ("a value of many parts", "list(range(10 ** 6))", STOPPED, None),
    ("a large message", "raise ValueError('m' * 5_000_000)", STOPPED, False),
    ("many notes", "e = ValueError('x')\nfor n in range(10 ** 5):\n    e.add_note('n' * 100)\nraise e", STOPPED, False),
    ("a long chain", "def f(n):\n    try:\n        1 / 0\n    except Exception:\n        if n:\n            f(n - 1)\n        raise ValueError\nf(200)", STOPPED, False),
    ("a long name", "raise type('E' * 9000, (Exception,), {})('x')", STOPPED, False),
]  # fmt: skip

ODD_ENDS = [
    ("raises SystemExit", "raise SystemExit(0)", False),
    ("raises KeyboardInterrupt", "raise KeyboardInterrupt", False),
    ("raises GeneratorExit", "raise GeneratorExit", False),
    ("raises BaseException", "raise BaseException('bare')", False),
    ("an error whose text fails", "class E(Exception):\n    def __str__(self):\n        raise ValueError\nraise E", False),
    ("an error whose text is no text", "class E(Exception):\n    def __str__(self):\n        return 5\nraise E", False),
    ("an error whose repr fails", "class E(Exception):\n    def __repr__(self):\n        raise E\n    __str__ = __repr__\nraise E", False),
    ("an error whose text is endless", "class E(Exception):\n    def __str__(self):\n        return str(self)\nraise E", False),
    ("an error that is its own cause", "e = ValueError('a')\nraise e from e", False),
    ("a circle of causes", "a, b = ValueError('a'), KeyError('b')\ntry:\n    raise a from b\nexcept ValueError:\n    raise b from a", False),
    ("half a character", "raise ValueError('\\ud800')", False),
    ("prints half a character", "print('\\ud800\\udfff')", True),
    ("prints NUL and escapes", "print('\\x00\\x1b[31m\\u202e')", True),
    ("a value that is no number", "float('nan')", True),
    ("a value without end", "float('inf')", True),
    ("a value in half characters", "'\\udc80'", True),
    ("a value of bytes", "b'\\xff\\x00'", True),
    ("a value in itself", "x = []\nx.append(x)\nx", True),
    ("a value with odd keys", "{(1, 2): {3}, None: 1j}", True),
    ("a value that explodes", "class A:\n    def __repr__(self):\n        raise SystemExit\nA()", None),
    ("a value that says it is a dict", "class D(dict):\n    def items(self):\n        raise ValueError\nD(a=1)", None),
    ("a text that lies of its length", "class S(str):\n    def __len__(self):\n        return 3\n    def encode(self, *a):\n        return b'{}'\nS('forged' * 10)", None),
    ("a number that lies", "class N(int):\n    def __str__(self):\n        return '\"}'\n    __repr__ = __str__\nN(7)", None),
    ("prints what lies", "class S(str):\n    def __str__(self):\n        return self\nprint(S('x'))", None),
    ("goes on after its end", "class A:\n    def __del__(self):\n        while True:\n            pass\nA.keep = A()", None),
    ("comes back to life", "kept = []\nclass A:\n    def __del__(self):\n        kept.append(self)\nfor _ in range(100):\n    A()", None),
]  # fmt: skip

FORGERIES = [
    ("names of the answer", "success = True\nerror = None\nprovenance = {'code_hash': 'forged'}\n1 / 0", False),
    ("a frame on stdout", "print('\\x00\\x00\\x00\\x10{\"end\":\"success\",\"data\":1}')\n1 / 0", False),
    ("an answer on stdout", "print('{\"id\": \"0\", \"spent\": false, \"end\": \"success\", \"data\": {}}')\n1 / 0", False),
    ("an answer as the value", "{'success': True, 'provenance': {'code_hash': 'forged'}, 'execution_time': -1}", True),
    ("the phrase of a time-out", "print('Execution timeout: exceeded 1ms (R3 compliance)')", True),
    ("the phrase of memory", "raise MemoryError('mine')", False),
    ("builtins written over", "print = len = str = repr = None\n'x'", True),
    ("a json of its own", "import json\njson.dumps = None\n1", None),
    ("errors written over", "Exception = ValueError = None\n1 / 0", False),
    ("a hostile mapping", "class M(dict):\n    def keys(self):\n        return ['success']\n    def __getitem__(self, k):\n        return True\nM()", None),
]  # fmt: skip

PAYLOADS = [
    *(Hostile(f"loop: {name}", code) for name, code in LOOPS),
    *(Hostile(f"bomb: {name}", code) for name, code in BOMBS),
    *(Hostile(f"depth: {name}", code, succeeds=None) for name, code in DEPTHS),
    *(Hostile(f"flood: {name}", *rest) for name, *rest in FLOODS),  # type: ignore[arg-type]
    *(Hostile(f"end: {name}", code, succeeds=good) for name, code, good in ODD_ENDS),
    *(Hostile(f"forgery: {name}", code, ANSWERS, good) for name, code, good in FORGERIES),
]
