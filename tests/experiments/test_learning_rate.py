"""The experiment on learning rates: its prediction at a tiny scale, its claims at the small one."""

import jax
import learning_rate
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jgrad import models

pytestmark = pytest.mark.loose_promotion


def test_where_the_loss_falls_is_found_as_by_a_loop_of_descents():
    nets = learning_rate._Networks(models.MLP(depth=2, width=5, activation="tanh"), (0.8, 1.5), 2)
    flat, unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf[1, 1], nets.params))
    limit = nets.predicted[1, 1]
    rates = [0.3 * limit, 0.6 * limit, 5 * limit]
    found = nets.falls(rates, 3)
    slope = jax.jit(jax.value_and_grad(lambda flat: nets.loss(unravel(flat))))
    expected = np.nan
    for rate in rates:
        w, losses = flat, []
        for _ in range(4):
            loss, gradient = slope(w)
            losses.append(float(loss))
            w = w - rate * gradient
        if not (np.diff(losses) < 0).all():
            break
        expected = rate
    assert expected == rates[1]
    assert found[1, 1] == expected


@pytest.mark.slow
def test_two_over_lambda_is_the_limit_for_a_start_and_not_for_a_training():
    data = learning_rate.run(**learning_rate.EXPERIMENT.scales["small"])
    at_once, in_the_end = data.falls / data.predicted, data.stable / data.predicted
    assert 0.85 < float(at_once.median()) < 1.2
    assert (abs(np.log(at_once)) < np.log(2)).mean() > 0.95
    assert float(in_the_end.median()) > 2
    assert float(in_the_end.sel(phi="sigmoid").min()) > 4
    # Within each activation a larger gain makes gradients grow, and leaves less rate.
    assert (np.diff(data.growth.mean("seed"), axis=1) > 0).all()
    assert (np.diff(data.predicted.median("seed"), axis=1) < 0).all()
