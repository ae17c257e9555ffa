"""The service: one inbox, one loop, one writer."""
