"""The claims of the experiment on the normalised initialisation, at its small scale."""

import glorot_2010
import numpy as np
import pytest
from _experiment import mean_and_error

pytestmark = pytest.mark.loose_promotion


@pytest.mark.slow
def test_the_normalised_initialisation_keeps_gradients_and_trains_better():
    data = glorot_2010.run(**glorot_2010.EXPERIMENT.scales["small"])
    # Four layers, and what an infinite width would not: 2/4n a layer.
    for found, theirs in (
        (data.log_gradient - data.log_gradient.isel(layer=-1), data.theory_gradient),
        (data.log_signal, data.theory_signal),
    ):
        mean, error = mean_and_error(found)
        assert (np.abs(mean - theirs) < 3 * error + 0.01).all()
    growth = (data.log_gradient.isel(layer=0) - data.log_gradient.isel(layer=-1)).mean("seed") / 4
    # Farther from 0 than where z is small, as φ' is largest at 0, and by no more than a third.
    assert (growth < data.small).all()
    assert (growth > data.small - 0.35).all()
    assert (data.low.sel(phi=["tanh", "softsign"]) > 0).all()
    assert (data.loss.sel(phi="sigmoid").isel(step=-1) > 0.99 * data.constant).all()
    top, below = data.sigmoid.isel(layer=-1, record=-1), data.sigmoid.isel(layer=0, record=-1)
    assert (top < 0.15).all()
    assert (below > 0.45).all()
