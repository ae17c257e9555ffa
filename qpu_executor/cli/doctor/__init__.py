"""`qpu doctor`: what is wrong with a set-up, and what to type for it.

A check is a function that returns findings; it changes nothing that lasts. Those of one
subject share a file, and take what they judge as arguments. `running` gives each a
deadline, so that no hanging host hangs the doctor, and turns whatever it raises into a
finding. `user` and `site` say which checks there are.
"""
