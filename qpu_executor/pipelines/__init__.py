"""Pipeline files: from YAML over a plan to Parsl or Dask. No workflow engine of its own."""
