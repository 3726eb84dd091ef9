"""Tests next to other libraries, run by `make test-peers`: none is skipped where one is missing."""


def pytest_configure(config):
    config.addinivalue_line("markers", "thread_unsafe: of scikit-learn's tests")
