"""One request and its response on one leased connection, from the head to the last byte."""
