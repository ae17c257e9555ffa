"""Rehearsals: the scheduling core that serves live, under a heap of future events.

Hours of QPU time pass in seconds. Nothing here decides: `engine` plays the
manager and the QPUs around a `Scheduler` and feeds it the same events that it
gets in the service. All randomness comes from seeds.
"""
