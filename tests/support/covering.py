"""The quick selection of tests: few items of each test function, which have every value of every argument.

A function over 4 backends, 2 dtypes and 30 shapes has 240 items. One for each of the 30 shapes, in turn with
every backend and dtype, are enough to run every function, backend, dtype and shape; the compiled backend, whose
kernels take another path for almost every shape, has all of its values to itself.
"""

from collections import Counter, defaultdict

# Where an item has this value of `backend`, the values of its other arguments count as its own.
THOROUGH = "compiled"


def values_of(item):
    """The values of an item's arguments, those of the compiled backend kept apart."""
    callspec = getattr(item, "callspec", None)
    if callspec is None:
        return frozenset()
    # One id for each parametrisation, so that the rows of parametrize("a, b", ...) count as wholes; pytest keeps
    # them in no public place, and the values themselves may be arrays, which do not compare.
    ids = list(enumerate(callspec._idlist))
    thorough = [(THOROUGH, *pair) for pair in ids if callspec.params.get("backend") == THOROUGH]
    return frozenset([*ids, *thorough])


def covering(items, values=values_of):
    """The items, in their order, of a subset in which every value occurs that occurs in any of them.

    Greedy: next is the item that has most values that were not seen yet; of several the one whose values were
    seen least, so that backends and dtypes take turns; of several the first. The same items give the same subset.
    """
    sets = [values(item) for item in items]
    missing = set().union(*sets)
    seen, chosen = Counter(), set()
    candidates = list(range(len(items)))
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


def select(items):
    """What is run of all items, and what is not."""
    functions = defaultdict(list)
    for item in items:
        functions[item.nodeid.partition("[")[0]].append(item)
    chosen = {id(item) for group in functions.values() for item in covering(group)}
    return (
        [item for item in items if id(item) in chosen],
        [item for item in items if id(item) not in chosen],
    )
