"""The table of parameters: the constructor, its page and the command line say what its rows say."""

import argparse
import inspect
import re

import pytest

from fastsoftmax import SoftmaxClassifier, search
from fastsoftmax.classifier.parameters import BY_NAME, PARAMETERS, config_of
from fastsoftmax.cli import search as search_command
from fastsoftmax.cli import train as train_command
from fastsoftmax.cli.error_translation import option_of
from fastsoftmax.training.config import TrainingConfig

CONSTRUCTOR = list(inspect.signature(SoftmaxClassifier).parameters.values())


def test_the_constructor_has_the_rows_of_the_table():
    expected = [(row.name, row.default) for row in PARAMETERS]
    assert [(parameter.name, parameter.default) for parameter in CONSTRUCTOR] == expected
    assert SoftmaxClassifier().get_params() == dict(expected)
    types = [type(row.default) for row in PARAMETERS]
    assert [type(parameter.default) for parameter in CONSTRUCTOR] == types


def test_every_parameter_is_described():
    described = inspect.getdoc(SoftmaxClassifier).split("\nAttributes\n")[0]
    names = [
        name
        for line in re.findall(r"^(\w+(?:, \w+)*) : ", described, re.MULTILINE)
        for name in line.split(", ")
    ]
    assert sorted(names) == sorted(BY_NAME)


@pytest.mark.parametrize("row", PARAMETERS, ids=lambda row: row.name)
def test_a_default_that_cannot_vary_was_checked_once(row):
    if not row.default_varies:
        assert row.check(row.name, row.default) == row.checked_default


def test_a_value_that_equals_a_default_is_checked_if_it_is_of_another_type():
    for values in ({"fit_intercept": 1}, {"batch_size": 64.0}, {"nesterov": 0}):
        with pytest.raises(TypeError, match=f"^{next(iter(values))}: expected"):
            config_of(SoftmaxClassifier(**values))


@pytest.mark.parametrize("name", [row.name for row in PARAMETERS if not row.in_search])
def test_search_takes_the_parameters_that_the_table_says(name):
    with pytest.raises(ValueError, match=f"^{name}: not a parameter of search$"):
        search([[0.0], [1.0]] * 5, [0, 1] * 5, **{name: BY_NAME[name].default})


def test_the_options_are_those_of_the_table():
    options = [row.option_name for row in PARAMETERS if row.option is not None]
    assert len(set(options)) == len(options)
    for row in PARAMETERS:
        if row.option is not None:
            assert option_of(row.name) == f"--{row.option_name.replace('_', '-')}"
    assert option_of("power_t") is None


def options_of(command):
    """The options of a command by the names of their values, with what argparse knows of them."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return {action.dest: action for action in parser._actions}


def test_search_has_the_options_of_train_that_the_table_allows():
    of_train, of_search = options_of(train_command), options_of(search_command)
    for row in PARAMETERS:
        if row.option is None:
            continue
        assert row.option_name in of_train
        assert (row.option_name in of_search) == row.in_search, row.name
        if row.in_search:
            expected, found = of_train[row.option_name], of_search[row.option_name]
            for name in ("option_strings", "choices", "help", "metavar", "default"):
                assert getattr(found, name) == getattr(expected, name)
            assert getattr(found.type, "__qualname__", None) == getattr(
                expected.type, "__qualname__", None
            )


class Recorded(dict):
    """A mapping that remembers which of its keys were read."""

    def __init__(self, values):
        super().__init__(values)
        self.read = set()

    def __getitem__(self, name):
        self.read.add(name)
        return super().__getitem__(name)


def test_the_configuration_reads_every_parameter_by_its_name():
    values = Recorded({row.name: row.check(row.name, row.default) for row in PARAMETERS})
    values |= {"penalty": "elasticnet", "early_stopping": True, "max_iter": 7, "alpha": 0.5}
    config = TrainingConfig.of(values)
    assert values.read == BY_NAME.keys() - {"random_state"}  # which `generator_of` reads
    for name in vars(TrainingConfig)["__dataclass_fields__"].keys() & values.keys():
        assert getattr(config, name) == dict.__getitem__(values, name)
