"""What the commands that hand out keys share."""

from datetime import timedelta

from rampart.management.base import Exit, JsonCommand
from tools.durations import parse_duration
from tools.key_cabinet import new_key_document
from tools.models import ApiKey


class NewKeyCommand(JsonCommand):
    """A command that ends with a new key: its text goes to standard output, once."""

    def show_once(self, row: ApiKey, text: str, as_json: bool) -> None:
        """Print the key; without `--json` all but its text goes to standard error."""
        if as_json:
            self.print_json(new_key_document(row, text))
            return
        self.stdout.write(text)
        until = f"{row.expires_at:%Y-%m-%d}"
        self.talk(f"{row.prefix} for {row.actor}, until {until}. It is not shown again.")

    def duration(self, option: str, text: str | None) -> timedelta | None:
        """The duration that an option gives, if it is given."""
        try:
            return None if text is None else parse_duration(text)
        except ValueError as error:
            raise self.fail(f"{option}: {error}", Exit.USAGE) from None
