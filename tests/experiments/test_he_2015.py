"""The claims of the experiment on He's initialisation, at its small scale."""

import he_2015
import numpy as np
import pytest
from _experiment import mean_and_error

pytestmark = pytest.mark.loose_promotion


@pytest.mark.slow
def test_he_keeps_the_gradient_and_trains_where_xavier_stalls():
    data = he_2015.run(**he_2015.EXPERIMENT.scales["small"])
    for growth in (data.gradient, data.signal):
        mean, error = mean_and_error(growth)
        assert (np.abs(mean - data.predicted) < 3 * error).all()
    shallow, deep = data.isel(depth=0, step=-1), data.isel(depth=-1, step=-1)
    assert (shallow.accuracy > 0.9).all()
    assert (deep.accuracy.sel(init="he") > 0.75).all()
    assert (deep.loss.sel(init="xavier") > 0.99 * data.constant).all()
    assert deep.low > 0.5
    assert shallow.low < 0.05
