"""A plugin of pytest: the tests that run on every backend run on the compiled one alone."""

import variants

variants.BACKENDS = ("compiled",)
