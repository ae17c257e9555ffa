"""The test kit. What follows is for you; the rest is for our own tests and may change.

`contracts`: the suites that a policy, an authenticator or a QPU adapter has to pass.
`controller`, `vendor_stand_in`: stand-ins for Pasqal's QPU controller and for the vendors'
services, to rehearse on: `python -m qpu_executor.testing.controller`, and likewise.
`fake_qpu`: an adapter that answers as a test says. `virtual_clock`, `virtual_manager`: a
clock that the test moves, and a whole manager on it. `core_driver`: the scheduling core, one
event at a time, with its laws checked after each. `sequences`: small Pulser sequences.

Nothing of it is imported by the product. The suites need pytest and pytest-asyncio, what
computes counts needs the extra `emulator`.
"""
