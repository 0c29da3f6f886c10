"""The claims of the experiment on recurrent gradients, at its small scale."""

import numpy as np
import pascanu_2013
import pytest
from _experiment import mean_and_error

pytestmark = pytest.mark.loose_promotion


@pytest.mark.slow
def test_gradients_grow_as_predicted_and_clipping_saves_trainings():
    data = pascanu_2013.run(**pascanu_2013.EXPERIMENT.scales["small"])
    mean, error = mean_and_error(data.growth)
    assert (np.diff(mean) > 0).all()
    assert (np.abs(mean - data.predicted.mean("seed")) < 3 * error + 0.02).all()
    broken = data.worse.mean(("rate", "seed"))
    assert float(broken.sel(clipping="none")) > float(broken.sel(clipping="clipped")) + 0.3
    best = data.loss.mean("seed").min("rate")
    assert float(best.sel(clipping="clipped")) < float(data.baseline) < float(best[0])
