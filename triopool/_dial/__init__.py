"""From an origin to an open connection: names, addresses, the race between them, the socket, TLS."""
