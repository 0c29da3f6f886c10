"""The claims of the experiment on layer norm's place, at its small scale."""

import pytest
import xiong_2020
from _experiment import mean_and_error

pytestmark = pytest.mark.loose_promotion


@pytest.mark.slow
def test_gradients_are_as_predicted_and_only_post_norm_needs_the_warm_up():
    data = xiong_2020.run(**xiong_2020.EXPERIMENT.scales["small"])
    for measured, predicted in (
        (data.profile.sel(of="δz"), data.predicted_profile),
        (data.last, data.predicted_last),
    ):
        mean, error = mean_and_error(measured, "draw")
        assert (abs(mean - predicted) < 4 * error + 0.1).all()
    # Pre-LN's gradients are not alike: they grow towards the input, those of W₂ the more.
    pre = data.profile.sel(order="pre").mean("draw")
    assert (pre.diff("block") < 0).mean() > 0.8
    assert 0.5 < float(pre.sel(of="δz", block=1)) < float(pre.sel(of="W₂", block=1))
    assert abs(data.profile.sel(order="post", of="W₂").mean("draw")).max() < 0.3

    at = data.accuracy.sel(rate=xiong_2020._telling_rate(data)).mean("seed")
    post, pre = at.sel(order="post"), at.sel(order="pre")
    assert float(post.sel(warm_up="warm-up")) > float(post.sel(warm_up="no warm-up")) + 0.15
    assert float(pre.sel(warm_up="no warm-up")) > float(post.max()) + 0.1
    # What the failure is: within a few steps no gradient reaches the first block.
    fall = data.fall.mean("seed").isel(rate=-1, record=-1).sel(warm_up="no warm-up")
    assert float(fall.sel(order="post")) < float(fall.sel(order="pre")) - 5
