"""A profile without a layer: what a fork from the zygote costs by itself. For the benchmark alone.

Loaded by the bench and, as one of its modules, by the bench's own zygote.
"""

from collections.abc import Mapping
from typing import Any

from sandbox import interpreter
from sandbox.profiles import PROFILES, Profile

BARE = Profile("bare", ())
PROFILES[BARE.name] = BARE


def run(job: Mapping[str, Any]) -> Any:
    """The job's code under the language layer, or the sum of its numbers."""
    if "code" in job:
        return interpreter.run(job["code"])
    return sum(job["numbers"])
