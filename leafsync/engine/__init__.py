"""The sync engine: no user interface below this line."""
