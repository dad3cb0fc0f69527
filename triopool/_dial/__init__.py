"""From an origin to an open connection: names, addresses, their race, sockets, proxies, TLS."""
