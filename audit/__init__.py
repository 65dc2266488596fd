"""The ledger: append only, one slot to write through. It looks at no other room."""
