"""How much a run may use: frozen, named profiles, each with its reason."""

from dataclasses import dataclass, fields, replace

from sandbox.protocol import LARGEST_FRAME

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one run. Sizes are bytes of compact UTF-8 JSON."""

    grace_seconds: float = 1.0
    """From SIGTERM to SIGKILL."""

    result_bytes: int = 1024 * 1024
    """A longer result ends as `OutputLimit`: half a JSON document is worth nothing."""

    job_bytes: int = 4 * 1024 * 1024
    """A longer job is refused before anything starts."""

    error_characters: int = 4096
    """The part of an exception's message that is kept."""

    warm_calls: int = 1000
    """Calls after which a warm process is replaced, so that what a tool leaks stays small."""

    warm_growth_bytes: int = 64 * MIB
    """By which a warm process may have grown before it is replaced."""

    memory_bytes: int = 1024 * MIB
    """Resident in all processes of the run together, beyond what was loaded before the run; more
    and they are killed."""

    address_space_bytes: int = 4096 * MIB
    """Beyond what was loaded before; more is refused, which Python makes a MemoryError."""

    cpu_seconds: float | None = None
    """Of all processes of the run together; more and they are killed. None: only the deadline."""

    processes: int = 64
    """At the same moment; more and they are killed, or where the jail can, refused."""

    open_files: int = 1024
    """In each process; more are refused."""

    file_bytes: int = 1024 * MIB
    """The longest file that may be written; more is refused."""

    scratch_bytes: int = 64 * MIB
    """In the jail's own folder for temporary files; more is refused."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and value <= 0:
                raise ValueError(f"{field.name} must be positive")
        if max(self.job_bytes, self.result_bytes) > LARGEST_FRAME:
            raise ValueError(f"a job or result has at most {LARGEST_FRAME} bytes")

    def as_json(self) -> dict[str, float | int | None]:
        return {name: getattr(self, name) for name in _NAMES}

    def of_answers(self) -> dict[str, int]:
        """Those that a child keeps itself, for each job: few, for they cost every warm call."""
        return {
            "result_bytes": self.result_bytes,
            "error_characters": self.error_characters,
            "warm_calls": self.warm_calls,
            "warm_growth_bytes": self.warm_growth_bytes,
        }

    def with_memory(self, megabytes: int) -> "Limits":
        """The same with so much memory, and room to reserve four times as much and not use it."""
        memory = megabytes * MIB
        return replace(self, memory_bytes=memory, address_space_bytes=4 * memory)


_NAMES = tuple(field.name for field in fields(Limits))


STANDARD = Limits()
"""For every tool unless its owner says otherwise: results a model can still read."""

TESTS_ONLY = Limits(
    grace_seconds=0.2, result_bytes=4096, job_bytes=4096, error_characters=64, warm_calls=3
)
"""Never in production: so small that a test reaches each bound at once."""
