"""Backups: the database in one file, taken beside running servers, put back whole or not."""
