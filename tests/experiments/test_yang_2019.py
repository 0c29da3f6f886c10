"""The claim of the experiment on batch normalisation, at its small scale."""

import numpy as np
import pytest
import yang_2019
from _experiment import mean_and_error

pytestmark = pytest.mark.loose_promotion


@pytest.mark.slow
def test_gradients_explode_at_the_predicted_rate():
    data = yang_2019.run(**yang_2019.EXPERIMENT.scales["small"])
    mean, error = mean_and_error(data.rate)
    assert (mean > 1).all()
    # Width 384 in place of an infinite one is good for about one per cent.
    assert (np.abs(mean - data.predicted) < 3 * error + 0.01 * data.predicted).all()
