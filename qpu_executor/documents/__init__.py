"""YAML files that people write: positions of every key, and errors that name them.

Shared by site files, profiles and pipelines; imports the error tree at most.
"""
