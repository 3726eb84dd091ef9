"""Tests next to other libraries, run by `make test-peers`: none is skipped where one is missing."""
