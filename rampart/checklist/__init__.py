"""What an operator should have looked at before agents are let in: `manage.py checklist`.

A check is a function that looks and returns a judgement; `items` keeps them, in the order in which
they are printed. Each module here is a chapter of the list.
"""

from rampart.checklist import deployment, jail, keys, tools  # noqa: F401 - loading them fills it
from rampart.checklist.items import Line, Verdict, run

__all__ = ["Line", "Verdict", "run"]
