"""The ledger's pages in the admin: they show, export and verify, and change nothing."""
