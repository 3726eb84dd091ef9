"""Selections of tests: fewer items of each test function, with every value of its arguments or every pair.

A function over 4 backends, 2 dtypes, 30 shapes and 2 kinds of targets has 480 items. One for each of the
30 shapes, in turn with every backend, dtype and kind, are enough to run every value; the compiled
backend, whose kernels take another path for almost every shape, has all of its values to itself. So
`make test` chooses. The other backends have no path for a shape: there `make test-all` has every two
values together somewhere, the compiled backend all items.
"""

from collections import Counter, defaultdict
from itertools import combinations

THOROUGH = "compiled"

# Whether items are chosen as `make test` does; conftest.py says so before it imports tests.
is_quick = False


def is_thinned(item):
    """Whether `make test` runs a part alone of what an item does, fewer drawn cases for example."""
    drawn = getattr(getattr(item, "obj", None), "is_hypothesis_test", False)
    return drawn or any(item.iter_markers("thinned"))


def few(cases, n):
    """About `n` of the cases that a test marked `thinned` goes through, or all: `make test-all`."""
    cases = list(cases)
    return cases[:: max(1, len(cases) // n)] if is_quick else cases


def _ids(item):
    # One id for each parametrisation, so that the rows of parametrize("a, b", ...) count as wholes; pytest
    # keeps them in no public place, and the values themselves may be arrays, which do not compare.
    callspec = getattr(item, "callspec", None)
    return list(enumerate(callspec._idlist)) if callspec else []


def _backend(item):
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("backend") if callspec else None


def values(item):
    """An item's values, those of the compiled backend apart; of a costly item, its backend alone."""
    if any(item.iter_markers("costly")):
        return frozenset([_backend(item)])
    ids = _ids(item)
    thorough = [(THOROUGH, *value) for value in ids if _backend(item) == THOROUGH]
    return frozenset([*ids, *thorough])


def pairs(item):
    """The pairs of values of an item's arguments; of the compiled backend, or of none, the item itself."""
    if _backend(item) in (None, THOROUGH):
        return frozenset([item.nodeid])
    ids = _ids(item)
    return frozenset([*ids, *combinations(ids, 2)])


def covering(items, traits):
    """The items, in their order, of a subset that has all traits that any of them has.

    Greedy: next is the item that has most traits that were not seen yet; of several the one whose traits
    were seen least, so that backends and dtypes take turns; of several the first. The same items give the
    same subset.
    """
    sets = [traits(item) for item in items]
    # An item whose only trait is its own is in every subset.
    holders = Counter(trait for of_item in sets for trait in of_item)
    chosen = {i for i, of_item in enumerate(sets) if any(holders[trait] == 1 for trait in of_item)}
    seen = Counter(trait for i in chosen for trait in sets[i])
    missing = set(holders) - set(seen)
    candidates = [i for i in range(len(items)) if i not in chosen]
    while missing or not chosen:
        best = max(
            candidates,
            key=lambda i: (len(sets[i] & missing), -sum(map(seen.__getitem__, sets[i])), -i),
        )
        chosen.add(best)
        missing -= sets[best]
        seen.update(sets[best])
        candidates = [i for i in candidates if not sets[i].isdisjoint(missing)]
    return [item for i, item in enumerate(items) if i in chosen]


def select(items, traits):
    """What is run of all items, and what is not."""
    functions = defaultdict(list)
    for item in items:
        functions[item.nodeid.partition("[")[0]].append(item)
    chosen = {id(item) for group in functions.values() for item in covering(group, traits)}
    return (
        [item for item in items if id(item) in chosen],
        [item for item in items if id(item) not in chosen],
    )
