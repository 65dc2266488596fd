"""The long form: `python -m tests.faults [--minutes N] [--seed S] [--stores postgres|embedded]`."""

import argparse
import secrets
import sys
from pathlib import Path

from tests.faults.report import report
from tests.faults.storm import STORES, Plan, run


def main() -> int:
    """Run on each kind of stores, tell what was seen; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", default=secrets.token_hex(4))
    parser.add_argument("--stores", choices=STORES)
    parser.add_argument("--keep", type=Path, help="a folder for the logs and records")
    options = parser.parse_args()
    broken = False
    for stores in [options.stores] if options.stores else STORES:
        plan = Plan(stores, options.minutes * 60, options.seed, ttl="60s", between=(0.3, 2.0))
        print(f"== {options.minutes:g} minutes on {stores}, seed {plan.seed}", flush=True)
        result = run(plan, options.keep and options.keep / stores)
        print(report(result), flush=True)
        if result.findings:
            print(result.tell(), flush=True)
            broken = True
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
