"""Who is told of what happens: any number of instruments, and one that writes a log."""
