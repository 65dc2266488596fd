"""Every error this room raises."""


class SandboxError(Exception):
    """Base of the room's errors; never raised itself."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)


class SandboxUnavailable(SandboxError):
    """The zygote cannot be started or does not answer; the job was not sent."""


class LayerMissing(SandboxUnavailable):
    """A layer of the jail cannot be put on; nothing was run."""

    def __init__(self, layer: str, why: str) -> None:
        super().__init__(f"the layer {layer} cannot be put on: {why}")
        self.layer = layer
        self.why = why


class BadFrame(SandboxError):
    """The bytes on a socket are not a frame of ours."""


class SlotGone(SandboxError):
    """A slot's keeper went away before it was given a job."""
