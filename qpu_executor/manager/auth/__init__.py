"""Who is asking, and how that was proven."""
