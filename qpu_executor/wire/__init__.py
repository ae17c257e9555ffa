"""JSON shapes that the API speaks and the client reads: shared by these two only."""
