"""A manager that is killed again and again, in front of a controller that fails: the test's parts.

`nursery` and `forked`: processes that start in a tenth of a second. `traps`: where a manager
kills itself. `weather`: how the controller fails. `history`: one store's life under both.
`evidence` and `checking`: what the store, the journal, the controller's ledger and the
clients say afterwards, held against each other.
"""
