"""Tests of the slot engine alone: fake connections, no HTTP, no sockets, Trio's mock clock."""
