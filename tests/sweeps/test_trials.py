"""Trials varied by name; grids, pairs, random arms; what a study refuses before it trains."""

import itertools
import math

import pytest

from jgrad import data
from jgrad.models import MLP
from jgrad.optim import Chain
from jgrad.sweeps import Study, Trial, compare, grid, paired, randomly, settings, vary


def test_vary_reaches_every_part():
    trial = vary(Trial(), depth=3, clip="norm:0.5", batch=8, gain=0.5, schedule="cosine")
    assert (trial.model.depth, trial.chain.clip, trial.batch, trial.gain) == (3, "norm:0.5", 8, 0.5)
    assert trial.chain.schedule == "cosine"
    assert trial.model == MLP(depth=3)


def test_vary_takes_a_model_and_a_chain_by_name():
    trial = vary(Trial(), model="mlp", width=5, chain="adam:b2=0.9 | clip=value:1.0")
    assert trial.model == MLP(width=5)
    assert trial.chain == Chain(optimizer="adam:b2=0.9", clip="value:1.0")


def test_values_that_fit_each_other_are_set_together():
    """Each alone does not fit what was there."""
    for change in ({"heads": 3, "width": 9}, {"width": 9, "heads": 3}):
        model = vary(Trial(), model="transformer", **change).model
        assert (model.heads, model.width) == (3, 9)
    normed = vary(Trial(), norm="batch")
    assert vary(normed, batch=1, norm="none").batch == 1


def test_a_grid_is_every_combination():
    axes = {
        "activation": ["tanh", "relu", "gelu"],
        "optimizer": ["sgd", "adam"],
        "gain": [1.0, 2.0],
    }
    found = [(t.model.activation, t.chain.optimizer, t.gain) for t in grid(**axes)]
    assert found == list(itertools.product(*axes.values()))


def test_a_random_arm_is_part_of_the_grid_and_the_same_for_a_seed():
    axes = {"activation": ["tanh", "relu"], "width": [4, 8, 16], "init": ["he", "xavier"]}
    drawn = randomly(count=7, seed=3, **axes)
    assert set(drawn) <= set(grid(**axes))
    assert len(set(drawn)) == 7
    assert randomly(count=7, seed=3, **axes) == drawn
    assert randomly(count=7, seed=4, **axes) != drawn


def test_labels_say_what_differs():
    trials = grid(activation=["tanh", "relu"], depth=[3], clip=["none", "norm:1.0"])
    assert Study(trials=trials).labels == (
        "tanh + no clip",
        "tanh + norm:1.0",
        "relu + no clip",
        "relu + norm:1.0",
    )
    depths = Study(trials=paired(depth=[2, 4], width=[8, 4]))
    assert depths.labels == ("width 8 + depth 2", "width 4 + depth 4")


def test_a_users_own_activation_is_called_by_its_name():
    def square(x):
        return x * x

    assert settings(vary(Trial(), activation=square))["activation"] is square
    assert Study(trials=grid(activation=[square, "tanh"])).labels == ("square", "tanh")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: grid(activatoin=["tanh"]), "did you mean 'activation'"),
        (lambda: grid(activation=["tanhh"]), "did you mean 'tanh'"),
        (lambda: grid(depth=[]), "depth is empty"),
        (lambda: grid(depth=[2, 2]), "depth holds 2 twice"),
        (lambda: grid(activation="tanh"), "must be a sequence of values, got the string 'tanh'"),
        (lambda: grid(depth=3), "depth must be a sequence"),
        (lambda: grid(batch=[1], norm=["batch"]), "batch norm needs batches of at least 2"),
        (lambda: grid(clip=["value:-1"]), "got 'value:-1'"),
        (lambda: vary(Trial(), model="mpl"), "did you mean 'mlp'"),
        (lambda: vary(Trial(), gain=-1.0), "gain must be at least 0, got -1.0"),
        (lambda: paired(depth=[2], width=[4, 8]), r"equally long, got \{'depth': 1, 'width': 2\}"),
        (lambda: randomly(count=3, depth=[1, 2]), "from 1 to the 2 combinations there are, got 3"),
        (lambda: Study(trials=()), "trials is empty"),
        (lambda: Study(trials=(Trial(), Trial())), "trials holds Trial.* twice"),
        (lambda: Study(trials=(Trial(),), seeds=()), "seeds is empty"),
        (lambda: Study(trials=(Trial(),), seeds=(-1,)), "at least 0"),
        (lambda: Study(trials=(Trial(),), steps=30), "multiple of chunk=20, got 30"),
        (lambda: Study(trials=(Trial(),), learning_rates=()), "is empty"),
        (lambda: Study(trials=(Trial(),), learning_rates=(-1.0,)), "at least 0, got -1.0"),
        (lambda: Study(trials=(Trial(),), learning_rates={"sdg": (1.0,)}), "did you mean 'sgd'"),
        (
            lambda: Study(trials=grid(width=[3, 4]), baseline="width 5"),
            "did you mean 'width 4' or 'width 3'",
        ),
        (lambda: Study(trials=(Trial(),), random=1), "some must be chosen"),
        (lambda: Study(trials=(Trial(),), trains_above=math.nan), "must be finite, got nan"),
        (lambda: Study(trials=(Trial(),), seeds=(2**32,)), "below 2³², got 4294967296"),
        (
            lambda: Study(trials=grid(activation=[lambda x: x, lambda x: x * x])),
            "two trials read alike, 'mlp': give their functions names",
        ),
        (
            lambda: vary(Trial(), outputs=3).fitted(data.load("digits")),
            "outputs=3 does not fit digits, which has outputs=10",
        ),
        (
            lambda: vary(Trial(), model="gru").fitted(data.load("copy_memory:delay=3")),
            "wants an answer at every position: a model with per_position=True, got GRU without",
        ),
        (
            lambda: vary(Trial(), model="gru", per_position=True).fitted(data.load("digits_rows")),
            "wants one answer an example: a model with per_position=False, got GRU with it",
        ),
        (
            lambda: Study(trials=grid(optimizer=["sgd", "adam"]), learning_rates={"sgd": (1.0,)}),
            "as many learning rates",
        ),
    ],
)
def test_wrong_input(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.loose_promotion
def test_a_linear_network_has_curves_and_no_profile():
    trials = grid(Trial(batch=8), activation=["identity"], depth=[2], width=[3])
    study = Study(trials=trials, seeds=(5,), learning_rates=(0.1,), steps=2, chunk=1)
    dataset = compare(study)
    assert dataset.label.values.tolist() == ["mlp"]
    assert dataset.train_loss.notnull().all()
    assert dataset.sizes["depth"] == 0
