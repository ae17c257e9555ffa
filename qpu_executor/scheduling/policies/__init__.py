"""Ordering policies, one in a file. A site names one of them in its site file."""
