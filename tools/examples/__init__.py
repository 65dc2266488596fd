"""Tools to play with and to copy from."""
