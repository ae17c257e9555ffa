"""The Dask resource that quantum tasks ask for."""

RESOURCE = "QPU"

CAPACITY = 1e9
"""What every worker offers. It caps nothing: how many tasks are in flight, and in
which order they run, is the manager's decision. Tasks hold their share of it
until they end, so it has to exceed every number of tasks that may wait."""
