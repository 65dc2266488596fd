"""What can go wrong in the tool room. A docstring is the message when none is given."""


class ToolError(Exception):
    """Base of this room's errors; never raised itself."""

    def __str__(self) -> str:
        return super().__str__() or (self.__doc__ or "").strip()


class ToolRegistrationError(ToolError):
    """A tool is defined in a way that cannot work."""


class UnknownTool(ToolError):
    """No tool of this name is defined."""


class OutputValidationError(ToolError):
    """The tool's result does not match the type that it declares."""


class LimiterUnavailable(ToolError):
    """The store that counts calls cannot be reached, so the call is refused."""


class KeyRefused(ToolError):
    """A key cannot be made as asked; the message names the field."""
