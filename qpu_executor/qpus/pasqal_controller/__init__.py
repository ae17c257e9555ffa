"""Pasqal's QPU controller over HTTP: the machine's own API, without anything in between.

One file, one concern: `messages` (what is said), `connection` (how it is sent, and what
a failure proves), `record` (what was sent, on disk), `finding` (where a lost answer went),
`pace` (when a job will be done), `preparing` (programs as the controller runs them),
`device` (its specification), `following` (one job to its end), `starting` (one job, once),
`refusing` (a controller that is up and takes none), `adapter`.
"""
