"""Frozen values that every layer speaks. No I/O, no clock, no third-party package."""
