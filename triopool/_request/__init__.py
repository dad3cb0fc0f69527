"""A request before it is sent: its URL, its fields, its options, all of them checked."""
