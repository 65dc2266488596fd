"""What can go wrong in the tool room. A docstring is the message when none is given."""

from sandbox.errors import SandboxUnavailable


class ToolError(Exception):
    """Base of this room's errors; never raised itself."""

    def __str__(self) -> str:
        return super().__str__() or (self.__doc__ or "").strip()


class ToolRegistrationError(ToolError):
    """A tool is defined in a way that cannot work."""


class UnknownTool(ToolError):
    """No tool of this name is defined."""


class ToolChanged(ToolError):
    """Nothing was run: the tool's code has changed since this server started; restart it."""


class OutputValidationError(ToolError):
    """The tool's result does not match the type that it declares."""


class LimiterUnavailable(ToolError):
    """The store that counts calls cannot be reached, so the call is refused."""


class KeyRefused(ToolError):
    """A key cannot be made as asked; the message names the field."""


class SessionNotFound(ToolError):
    """Session not found"""


class TooManySessions(ToolError):
    """The caller has as many sessions open as it may."""


class BudgetExceeded(ToolError):
    """A session's budget is used up, the message says which; its time is over in `seconds`."""

    def __init__(self, message: str, seconds: int) -> None:
        super().__init__(message)
        self.seconds = seconds


class SecretUnavailable(SandboxUnavailable):
    """A secret that the tool needs is not here, so its job was not sent."""
