"""The claims of the experiment on skip connections, at its small scale."""

import numpy as np
import pytest
import skip_connections
from _experiment import mean_and_error

pytestmark = pytest.mark.loose_promotion


@pytest.mark.slow
def test_small_branches_train_at_every_depth_and_gradients_grow_as_predicted():
    data = skip_connections.run(**skip_connections.EXPERIMENT.scales["small"])
    mean, error = mean_and_error(data.growth)
    # Blocks around a skip are not independent: theory takes off too little for the width.
    assert (np.abs(mean - data.predicted) < 3 * error + 0.05 * np.abs(data.predicted)).all()
    assert (np.abs(mean.sel(net=["SkipInit", "Fixup"])) < 1e-4).all()
    right = data.accuracy.mean("pair")
    shallow, deep = right.isel(depth=0), right.isel(depth=-1)
    assert shallow.sel(net="plain") > 0.8
    assert deep.sel(net="plain") < 0.5
    assert deep.sel(net="skip") < 0.5
    assert (right.sel(net=["SkipInit", "Fixup"]) > 0.9).all()
    assert (data.low.sel(remedy=["SkipInit", "Fixup"]).isel(depth=-1) > 0.3).all()
