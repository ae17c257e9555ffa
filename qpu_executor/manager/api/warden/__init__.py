"""Warden's HTTP protocol in front of the same manager, for clients that speak QRMI.

`/warden/QPU`, or `/warden/QPU:CLASS`, is a base URL as the released `qrmi` client takes one
for a resource of type `pasqal-local`. What is asked there becomes tasks and sessions like all
others; nothing here decides anything. docs/qrmi-clients.md says what each side has to set.
"""
