"""What is durable. `records` are the values, `base` the interface, `sql` the implementation."""
