"""What goes wrong with backups."""


class BackupFailed(Exception):
    """A backup can't be taken, read or put back; the message says why, in a line."""
