"""A body as its reader wants it: as text, lines, JSON, events, a file. Most of it without I/O."""
