"""A stand-in for Pasqal's QPU controller: its HTTP API in a process, with faults on demand.

    python -m qpu_executor.testing.controller --port 4300

`machine` takes the shots and keeps the ledger, `faults` says what goes wrong, `server`
speaks HTTP, `process` starts all that from a test. Needs the extra `emulator`.
"""
