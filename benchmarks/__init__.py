"""Measurements: run by hand, never asserted by a test."""
