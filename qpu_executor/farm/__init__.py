"""The emulator farm: a process of its own that emulates for managers, on Parsl or Dask.

Run as its owner (`qpu farm serve`), on an allocation or a large host. Managers speak its
HTTP/JSON protocol (`qpus/farm_protocol.py`) and load neither Parsl nor Dask.
"""
