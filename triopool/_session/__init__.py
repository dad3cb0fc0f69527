"""Sessions: what the requests to one API have in common, their cookies, and when to try again."""
