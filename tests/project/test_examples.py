"""The examples in the docstrings run and print what they say."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import fastsoftmax

MODULES = ["fastsoftmax"] + [
    module.name
    for module in pkgutil.walk_packages(fastsoftmax.__path__, "fastsoftmax.")
    # The last is for PyTorch, next to which it is tested.
    if not module.name.endswith("__main__") and ".torch" not in module.name
]
PUBLIC = [
    name
    for name in fastsoftmax.__all__
    if name == "SoftmaxClassifier"
    or (inspect.isfunction(getattr(fastsoftmax, name)) and name != "get_include")  # a folder
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module, optionflags=doctest.ELLIPSIS).failed == 0


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_function_has_an_example(name):
    tests = doctest.DocTestFinder(recurse=False).find(getattr(fastsoftmax, name))
    assert any(test.examples for test in tests)


SECTIONS = ["Parameters", "Returns", "Raises", "Examples"]


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_function_says_what_takes_what_and_fails_how(name):
    function = getattr(fastsoftmax, name)
    documentation = inspect.getdoc(function)
    sections = (
        SECTIONS if inspect.isfunction(function) else ["Parameters", "Attributes", "Examples"]
    )
    for section in sections:
        assert f"\n{section}\n{'-' * len(section)}\n" in documentation
    for parameter in inspect.signature(function).parameters:
        assert parameter in documentation
