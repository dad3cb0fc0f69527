"""A request's way through the pool: redirects, leases, retries, and the response in the end."""
