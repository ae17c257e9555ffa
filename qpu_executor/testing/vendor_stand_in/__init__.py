"""A machine behind the APIs of several vendors, on loopback, with faults at will.

    python -m qpu_executor.testing.vendor_stand_in --ledger runs/ledger.jsonl

It speaks what the released SDKs speak: Pasqal Cloud (the SDK `pasqal-cloud`, and QRMI's
`pasqal-cloud`), Warden (QRMI's `pasqal-local`), IBM Quantum Compute Service (QRMI's
`ibm-quantum-compute-service`), IQM Server and Alice & Bob Felis. Every job that it
really runs is one line of the ledger, whatever it told its clients about it.
"""
