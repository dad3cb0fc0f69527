"""The WebSocket client, in memory; `tests/real` has it with real servers."""
