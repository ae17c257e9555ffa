"""One file per version of the schema. A file that was released never changes."""
