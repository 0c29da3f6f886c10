"""The claim of the experiment on shattered gradients, at its small scale."""

import balduzzi_2017
import numpy as np
import pytest
from _experiment import mean_and_error

pytestmark = pytest.mark.loose_promotion


@pytest.mark.slow
def test_gates_decide_what_shatters():
    data = balduzzi_2017.run(**balduzzi_2017.EXPERIMENT.scales["small"])
    mean, error = mean_and_error(data.correlation)
    # Width 192 in place of an infinite one: up to a fifth of a percentage point in c, a layer.
    assert (np.abs(mean - data.predicted) < 3 * error + 0.005).all()
    deep = mean.sel(depth=8)
    assert abs(deep.sel(net="batch norm") - 2.0**-8) < 0.005
    assert deep.sel(net="plain") > 5 * 2.0**-8
    assert deep.sel(net="skip") > 2 * deep.sel(net="plain")
