"""WebSockets (RFC 6455): the handshake, which is a request, and what follows on its connection."""
