"""The claims of the experiment on isometry, at its small scale."""

import numpy as np
import pennington_2017
import pytest
from _experiment import mean_and_error

pytestmark = pytest.mark.loose_promotion


@pytest.mark.slow
def test_orthogonal_tanh_is_nearest_to_an_isometry_as_predicted():
    data = pennington_2017.run(**pennington_2017.EXPERIMENT.scales["small"])
    mean, error = mean_and_error(data.variance)
    # Of the order of depth over width is what a finite width takes off.
    finite = data.predicted * data.depth / data.sizes["index"] * 0.6
    assert (np.abs(mean - data.predicted) < 4 * error + finite).all()
    deepest = mean.isel(depth=-1)
    assert deepest.case.values[int(deepest.argmin("case"))] == "tanh orthogonal"
