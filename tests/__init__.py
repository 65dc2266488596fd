"""The tests mirror the rooms; `python -m tests.everything` runs them all on real servers."""
