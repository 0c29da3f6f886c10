"""The claim of the experiment on trainable depth, at its small scale."""

import pytest
import schoenholz_2017

pytestmark = pytest.mark.loose_promotion


@pytest.mark.slow
def test_networks_train_deepest_at_the_edge_of_chaos():
    data = schoenholz_2017.run(**schoenholz_2017.EXPERIMENT.scales["small"])
    depth = data.trainable.mean("seed")
    assert abs(float(depth.idxmax()) - data.critical_sigma_w) < 0.15
    # Falling away on both sides, within a factor two in units of the depth scale.
    assert (depth.sel(sigma_w=[1.0, 3.0]) < depth.max() / 2).all()
    away = abs(data.sigma_w - data.critical_sigma_w) > 0.1
    ratio = (depth / data.xi_c).where(away, drop=True)
    assert ratio.max() < 2 * ratio.min()
