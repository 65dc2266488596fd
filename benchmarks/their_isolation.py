"""ToolRampart 0.2.0: its isolated mode alone, in its own venv. A line in, a run, a line out."""

import asyncio
import sys

from toolrampart import ToolRampart, isolated_process, side_effects

rampart = ToolRampart()


@rampart.tool(name="bench.sum")
@side_effects(writes_data=True)
@isolated_process
def add(numbers: list[int]) -> int:
    """Add up in a process of its own."""
    return sum(numbers)


if __name__ == "__main__":
    with asyncio.Runner() as runner:
        for _line in sys.stdin:
            answer = runner.run(rampart.execute("bench.sum", {"numbers": [1, 2, 3]}))
            print(answer.data, flush=True)
