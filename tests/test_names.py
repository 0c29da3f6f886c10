"""Looking things up by name."""

import pytest

from jgrad import activations
from jgrad._names import lookup, unknown


def test_unknown_quotes_the_name_and_the_nearest():
    message = unknown("optimizer", "adm", ["sgd", "adam", "rmsprop"])
    assert "'adm'" in message
    assert "did you mean 'adam'" in message
    assert "adam, rmsprop, sgd" in message


def test_unknown_without_a_near_name_lists_all():
    message = unknown("optimizer", "zzzz", ["sgd", "adam"])
    assert "did you mean" not in message
    assert "adam, sgd" in message


def test_lookup_raises_value_error():
    with pytest.raises(ValueError, match="unknown thing 'b'"):
        lookup({"a": 1}, "b", "thing")


def test_the_catalogue_refuses_what_it_has_not():
    with pytest.raises(ValueError, match="unknown activation 'rleu'"):
        activations.get("rleu")
    with pytest.raises(ValueError, match="unknown activation"):
        activations.traits(lambda x: x)


def test_a_long_list_is_cut():
    message = unknown("thing", "name77", [f"name{k:02}" for k in range(90)])
    assert "did you mean 'name77'" in message
    assert message.endswith("name23, and 66 more")
