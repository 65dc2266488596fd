"""What can go wrong with those who give out tokens. A docstring is the message if none is given."""

from tools.errors import ToolError


class IssuerUnavailable(ToolError):
    """Who gave out the token cannot be asked now, so the token is neither good nor bad."""
