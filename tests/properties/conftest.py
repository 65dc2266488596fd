"""How long properties are looked for: briefly and always alike, or for minutes and anew.

`--hypothesis-profile thorough` chooses the second.
"""

import hypothesis
import pytest

hypothesis.settings.register_profile(
    "steady", hypothesis.settings.get_profile("rampart"),
    derandomize=True, max_examples=100, stateful_step_count=40, print_blob=False,
    suppress_health_check=list(hypothesis.HealthCheck),
)  # fmt: skip
hypothesis.settings.register_profile(
    "thorough", hypothesis.settings.get_profile("steady"),
    derandomize=False, max_examples=1000, stateful_step_count=60, print_blob=True,
)  # fmt: skip


if hypothesis.settings.get_current_profile_name() == "rampart":
    hypothesis.settings.load_profile("steady")


@pytest.fixture
def slowly() -> hypothesis.settings:
    """For examples that are long stories on a database: a fifth as many."""
    return hypothesis.settings(max_examples=hypothesis.settings.default.max_examples // 5)
