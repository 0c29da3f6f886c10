"""The commands as a user meets them: exit status, one line on stderr, nothing overwritten."""

import dataclasses
import io
import json
import subprocess
import sys

import click.testing
import numpy as np
import pytest
from rich.console import Console

import jgrad.cli
from jgrad import results, sweeps
from jgrad.cli import _commands, _live, _preset

TINY = ("--activations", "tanh", "--inits", "xavier", "--remedies", "none", "--depth", "2")

MODEL = """
import jax.numpy as jnp

def loss(params, batch):
    h = batch
    for w in params["layers"]:
        h = jnp.tanh(h @ w)
    return jnp.mean((h - 0.5) ** 2)

def bare(w, x):
    return jnp.mean(jnp.tanh(x @ w) ** 2)

def make():
    layers = [jnp.eye(5) * 0.5 + 0.1] * 3
    return loss, {"layers": layers}, jnp.ones((4, 5))

def breaks(w, x):
    raise ValueError("the user's own mistake")

def wrong():
    return 3

number = 7
"""


@pytest.fixture
def run(capsys):
    """run(*arguments): (exit status, stdout, stderr) of the command, in this process."""

    def call(*arguments):
        status = 0
        try:
            jgrad.cli.main([*map(str, arguments)])
        except SystemExit as end:
            status = end.code
        told = capsys.readouterr()
        return status, told.out, told.err

    return call


@pytest.fixture
def model(tmp_path):
    file = tmp_path / "own_model.py"
    file.write_text(MODEL)
    return file


@pytest.fixture
def finished(tmp_path, sweep_for_cli):
    folder = tmp_path / "done"
    folder.mkdir()
    results.save(sweep_for_cli, folder / "results.nc")
    return folder


@pytest.fixture(scope="module")
def sweep_for_cli():
    """The smallest dataset that a sweep could leave."""
    depth, flow = 3, (1, 1, 2, 2, 3)
    gain = np.full(flow, -3.0)
    linear = np.full(flow, -0.1)
    linear[..., 0] = np.nan
    dz = np.array([-11.3, -8.2, -5.1])
    labels = {
        "activation": "tanh",
        "init": "xavier",
        "norm": "none",
        "skip": "none",
        "optimizer": "sgd",
        "clip": "none",
        "program": "tanh",
        "label": "tanh + xavier",
        "data": "digits",
        "score": "accuracy",
        "chance": 0.1,
        "baseline_loss": np.log(10),
        "loss_unit": "nat",
        "remedy": "",
        "baseline": "",
    }
    return results.build(
        {
            **{name: [value] for name, value in labels.items()},
            "layers": [depth],
            "width": [4],
            "seed": [0, 1],
            "step": [10, 20],
            "record": [0, 10],
            "site": [[f"layer[{i}]" for i in range(depth)]],
            "learning_rate": [[0.1]],
            "train_loss": np.full((1, 1, 2, 2), 2.3),
            "test_accuracy": np.full((1, 1, 2, 2), 0.1),
            "diverged": np.zeros((1, 1, 2), bool),
            "log_gain": gain,
            "linear_log_gain": linear,
            "log_dz": np.broadcast_to(dz, flow),
            "log_da": np.broadcast_to(dz + 3.0, flow),
            **{
                name: np.full(flow, 0.5)
                for name in ("slope_second", "z_second", "a_second", "slope_mean")
            },
            **{name: np.zeros(flow) for name in ("zero_slope_share", "dead_share")},
        },
        {},
    )


# Every command


def test_help_of_every_command_has_an_explanation_and_json():
    runner = click.testing.CliRunner()
    assert set(_commands.jgrad.commands) == {
        "activations",
        "theory",
        "probe",
        "compare",
        "diagnose",
        "report",
    }
    for name in _commands.jgrad.commands:
        told = runner.invoke(_commands.jgrad, [name, "--help"])
        assert told.exit_code == 0
        assert "--json" in told.output
        assert len(told.output.splitlines()) > 8


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["activations", "tnh"], "did you mean 'tanh'"),
        (["activations", "--plot", "x.png"], "name it"),
        (["theory", "rleu"], "'relu'"),
        (["theory", "tanh", "--sigma-b", "-1"], "at least 0"),
        (["theory", "tanh", "--sigma-w", "nan"], "at least 0"),
        (["compare", "--depth", "0"], "depth must be at least 1, got 0"),
        (["compare", "--activations", "tanh,rleu"], "'relu'"),
        (["compare", "--inits", "hee"], "did you mean 'he'"),
        (["compare", "--optimizer", "adm"], "did you mean 'adam'"),
        (["compare", "--learning-rates", "-0.1"], "-0.1"),
        (["compare", "--learning-rates", "nan,0.1,0.2"], "nan"),
        (["compare", "--learning-rates", "fast"], "must be numbers, got 'fast'"),
        (["compare", "--seeds", "0"], "seeds"),
        (["compare", "--data", "digts"], "did you mean 'digits'"),
        (["compare", "--data", "nowhere.npz"], "no such file"),
        (["compare", "--learning-rates", "0.1", "--data", "digist"], "did you mean 'digits'"),
        (["probe", "nowhere"], "module:function"),
        (["probe", "no_such_module_here:make"], "no module"),
        (["probe", "nowhere.py:make"], "no such file"),
        (["report", "nowhere"], "no such file"),
        (["diagnose", "nowhere"], "no such file"),
        (["frobnicate"], "frobnicate"),
        (["compare", "--frobnicate"], "frobnicate"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(run, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(*arguments)
    assert status == 2
    assert out == ""
    assert said in err
    assert err.startswith("jgrad: ")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_unexpected_error_keeps_its_traceback(monkeypatch):
    def broken(*_):
        return np.stack([np.zeros(2), np.zeros(3)])

    monkeypatch.setattr(_commands, "_load", broken)
    with pytest.raises(ValueError, match="same shape"):
        jgrad.cli.main(["report", "anything"])


def test_an_interruption_is_one_line_and_status_130(run, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(_commands, "_load", interrupted)
    status, _, err = run("report", "anything")
    assert (status, err.strip()) == (130, "jgrad: interrupted")


def test_without_the_lab_it_says_how_to_get_it(run, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "click" else find(n))
    status, _, err = run("activations")
    assert status == 2
    assert "pip install 'jgrad[lab]'" in err


def test_the_module_itself_needs_no_lab():
    lab = "{'click', 'rich', 'matplotlib', 'xarray', 'flax'}"
    code = f"import sys, jgrad.cli; assert not {lab} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# activations, theory


def test_activations_prints_one_and_draws_it(run, tmp_path):
    status, out, _ = run("activations", "tanh", "--plot", tmp_path / "tanh.png")
    assert status == 0
    assert "−1 … 1" in out
    assert (tmp_path / "tanh.png").stat().st_size > 10_000


def test_activations_as_json(run):
    status, out, _ = run("activations", "swish", "--json")
    told = json.loads(out)
    assert status == 0
    assert told["silu"]["saturates"] == "left"
    assert told["silu"]["upper"] is None
    assert told["silu"]["moments"]["second"] == pytest.approx(0.3558, abs=1e-4)


def test_theory_as_json_agrees_with_the_literature(run):
    status, out, _ = run("theory", "tanh", "--sigma-b", "0.3", "--json")
    told = json.loads(out)
    assert status == 0
    assert told["critical"][0]["sigma_w"] == pytest.approx(1.395584, abs=1e-5)
    assert told["fixed_points"][0]["chi1"] == pytest.approx(1.0, abs=1e-6)


def test_theory_tells_depth_scales(run):
    _, out, _ = run("theory", "tanh", "--sigma-w", "0.9", "--sigma-b", "0.3")
    # The reference file's ξ_c = ξ_∇ = 1.95999 for these scales, and six times that.
    assert out.count("1.96 ") + out.count("1.9600 ") == 2
    assert "trainable" in out
    assert "11.76" in out
    _, out, _ = run("theory", "gelu", "--sigma-b", "0.1")
    assert "unstable" in out
    status, out, _ = run("theory", "tanh", "--sigma-w", "2.5", "--sigma-b", "0.3", "--json")
    (point,) = json.loads(out)["fixed_points"]
    assert status == 0
    assert point["xi_c"] == pytest.approx(5.10891899, rel=1e-6)
    assert point["xi_gradient"] == pytest.approx(-2.17048648, rel=1e-6)


def test_theory_says_where_there_is_no_critical_point(run):
    status, out, _ = run("theory", "softplus")
    assert status == 0
    assert "no critical point" in out


# probe


@pytest.mark.loose_promotion
def test_probe_of_a_factory(run, model):
    status, out, _ = run("probe", f"{model}:make", "--steps", "3", "--json")
    told = json.loads(out)
    assert status == 0
    assert [flow["step"] for flow in told["flows"]] == [0, 3]
    assert told["flows"][0]["activations"] == ["tanh"] * 3
    assert told["loss"][-1] < told["loss"][0]
    assert "gradient" in told["flows"][0]["headline"]


def test_probe_prints_a_table_and_a_sentence(run, model):
    status, out, _ = run("probe", f"{model}:make")
    assert status == 0
    assert out.count("tanh") >= 3
    assert "Over 3 activations the gradient norm" in out


BROKEN = """
import jax
import jax.numpy as jnp


def make():
    def loss(params, batch):
        shares = jax.nn.relu(jnp.tanh(batch @ params["in"]) @ params["out"])
        return -jnp.mean(jnp.log(shares))

    key, other = jax.random.split(jax.random.key(0))
    params = {"in": jax.random.normal(key, (4, 8)), "out": jax.random.normal(other, (8, 3))}
    return loss, params, jax.random.normal(key, (16, 4))
"""


@pytest.mark.loose_promotion
def test_probe_names_the_operation_that_breaks(run, tmp_path):
    file = tmp_path / "broken.py"
    file.write_text(BROKEN)
    status, out, _ = run("probe", f"{file}:make")
    assert status == 0
    assert "the first inf that reaches the value: log broken.py:9 loss" in " ".join(out.split())
    assert "is not finite" in out
    (flow,) = json.loads(run("probe", f"{file}:make", "--json")[1])["flows"]
    assert flow["first_nonfinite"]["primitive"] == "log"
    assert [finding["symptom"] for finding in flow["findings"]] == ["non-finite"]


FRAMEWORKS = """
import equinox as eqx
import jax
import jax.numpy as jnp
from flax import nnx

X = jax.random.normal(jax.random.key(1), (16, 32))


class Net(nnx.Module):
    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(32, 32, rngs=rngs) for _ in range(3)])

    def __call__(self, x):
        for layer in self.layers:
            x = jax.nn.relu(layer(x))
        return x


def of_nnx():
    return lambda net, x: jnp.mean(net(x) ** 3), Net(nnx.Rngs(0)), X


def of_equinox():
    net = eqx.nn.MLP(32, 32, 32, 3, key=jax.random.key(0))
    return lambda net, x: jnp.mean(jax.vmap(net)(x) ** 3), net, X
"""


@pytest.mark.loose_promotion
@pytest.mark.parametrize("name", ["of_nnx", "of_equinox"])
def test_probe_of_a_chain_says_what_theory_says(run, tmp_path, name):
    file = tmp_path / f"{name}_model.py"
    file.write_text(FRAMEWORKS)
    status, out, _ = run("probe", f"{file}:{name}")
    assert status == 0
    assert "; theory predicts that it falls by e^" in out
    assert "passes on the least of the gradient" in out
    assert "critical for relu, so that the gradient keeps its size, is 1.41." in out
    status, out, _ = run("probe", f"{file}:{name}", "--json", "--steps", "2")
    first, second = (flow["theory"] for flow in json.loads(out)["flows"])
    np.testing.assert_allclose(first["log_gain"], np.log(0.5) / 2, rtol=1e-6)
    assert first["sigma_w"] != second["sigma_w"]


def test_probe_of_a_loss_with_arrays_by_name(run, model, tmp_path):
    arrays = {"params/layers/0": np.eye(3), "x": np.ones((2, 3), np.float32)}
    np.savez(tmp_path / "a.npz", w=np.eye(3, dtype=np.float32), **arrays)
    status, out, _ = run("probe", f"{model}:bare", "--data", tmp_path / "a.npz")
    assert status == 0
    assert "tanh" in out


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("bare", None, "wants arguments (w, x)"),
        ("wrong", None, "must return a tuple (loss, params, batch), got int"),
        ("mke", None, "did you mean 'make'"),
        ("number", None, "a function is wanted, got 7"),
        ("bare", {"w": np.eye(2)}, "no array for the argument 'x'"),
        ("bare", {"w": np.eye(2), "w/a": np.eye(2)}, "'w/a' is within 'w', which is an array"),
        ("make", {"w": np.eye(2)}, "make takes none"),
    ],
)
def test_probe_of_the_wrong_thing(run, model, tmp_path, name, data, said):
    more = []
    if data is not None:
        np.savez(tmp_path / "d.npz", **data)
        more = ["--data", tmp_path / "d.npz"]
    status, _, err = run("probe", f"{model}:{name}", *more)
    assert status == 2
    assert said in err


def test_a_failure_in_the_users_function_is_not_hidden(model, tmp_path):
    np.savez(tmp_path / "d.npz", w=np.eye(2), x=np.eye(2))
    with pytest.raises(ValueError, match="the user's own mistake"):
        jgrad.cli.main(["probe", f"{model}:breaks", "--data", str(tmp_path / "d.npz")])


# diagnose, report


def test_diagnose_tells_findings_and_remedies(run, finished):
    status, out, _ = run("diagnose", finished)
    assert status == 0
    assert "tanh + xavier: does not train" in out
    assert "vanishing: the gradient falls by e^3.07 a layer" in out
    assert "    - skip connections" in out


def test_report_writes_the_page_again(run, finished, tmp_path):
    status, out, _ = run("report", finished, "--out", tmp_path / "again.html")
    assert status == 0
    assert "tanh + xavier" in out
    assert "<!doctype html>" in (tmp_path / "again.html").read_text("utf-8")
    status, out, _ = run("report", finished / "results.nc", "--json")
    assert json.loads(out)["ranking"][0]["outcome"] == "does not train"
    assert (finished / "report.html").exists()


def test_report_of_a_broken_file(run, tmp_path):
    (tmp_path / "results.nc").write_bytes(b"nonsense")
    status, _, err = run("report", tmp_path)
    assert status == 2
    assert "results.nc" in err


# compare


def test_compare_hands_the_options_over(run, monkeypatch, sweep_for_cli, tmp_path):
    asked = {}

    def compare(comparison, *, output, progress):
        asked["comparison"], asked["output"] = comparison, output
        return sweep_for_cli

    monkeypatch.setattr(sweeps, "compare", compare)
    out = tmp_path / "out"
    more = ["--steps", 30, "--seeds", 2, "--learning-rates", "0.1", "--out", out]
    status, told, _ = run("compare", *TINY, *more)
    comparison = asked["comparison"]
    assert status == 0
    assert (comparison.activations, comparison.base.model.depth, comparison.remedies) == (
        ("tanh",),
        2,
        (),
    )
    assert (comparison.steps, comparison.steps % comparison.chunk) == (30, 0)
    assert comparison.seeds == (0, 1)
    assert comparison.learning_rates["sgd"] == (0.1,)
    assert asked["output"] == out
    assert "report.html" in told
    assert (out / "report.html").exists()


def test_a_folder_of_others_is_left_alone(run, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    status, _, err = run("compare", *TINY, "--out", tmp_path)
    assert status == 2
    assert "holds no run of jgrad's" in err
    assert [p.name for p in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.slow
@pytest.mark.loose_promotion
def test_compare_from_beginning_to_end(run, tmp_path):
    more = ["--width", 8, "--steps", 20, "--seeds", 2, "--out", tmp_path / "run", "--json"]
    status, out, err = run("compare", *TINY, *more)
    assert status == 0
    assert "compiling tanh (1 of at most" in err
    assert json.loads(out)["ranking"][0]["label"] == "tanh + xavier"
    assert (tmp_path / "run" / "report.html").exists()


def test_learning_rates_by_optimiser():
    given = {"learning_rates": (("0.1", "0.2", "0.3"), ("adam=0.01", "0.02", "0.03"))}
    comparison = _preset.plan(given)
    assert comparison.learning_rates["sgd"] == (0.1, 0.2, 0.3)
    assert comparison.learning_rates["adam"] == (0.01, 0.02, 0.03)


def test_axes_make_a_study():
    options = {"axis": ("depth=2,4", "branch=plain,rezero"), "set": ("width=8", "clip=norm:1.0")}
    study = _preset.plan(options | {"activations": ("relu",), "steps": 50, "model": "residual_mlp"})
    assert isinstance(study, sweeps.Study)
    assert len(study.trials) == 4
    assert {t.model.depth for t in study.trials} == {2, 4}
    assert {type(t.model).__name__ for t in study.trials} == {"ResidualMLP"}
    assert {t.chain.clip for t in study.trials} == {"norm:1.0"}
    assert (study.steps, study.chunk) == (50, 25)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"axis": ("depth",)}, "NAME=A,B,..., got 'depth'"),
        ({"axis": ("dpeth=3",)}, "did you mean 'depth'"),
        ({"axis": ("activation=,",)}, "NAME=A,B,..., got 'activation=,'"),
        ({"axis": ("depth=3", "depth=4,5")}, "depth is given more than once"),
        ({"axis": ("depth=3,4",), "depth": 5}, "depth is given more than once"),
        ({"axis": ("init=he",), "inits": ("xavier",)}, "init is given more than once"),
        ({"set": ("width=3",), "width": 5}, "width is given more than once"),
        ({"set": ("cilp=none",)}, "did you mean 'clip'"),
        ({"axis": ("depth=3",), "remedies": ("skip",)}, "a study of --axis has none"),
        ({"model": "transfomer"}, "did you mean 'transformer'"),
    ],
)
def test_wrong_plans(options, words):
    with pytest.raises(ValueError, match=words):
        _preset.plan(options)


def test_processes_are_named_wholly(run, tmp_path):
    status, _, err = run("compare", *TINY, "--coordinator", "localhost:1", "--out", tmp_path / "r")
    assert status == 2
    assert "--processes and --process go together" in err


@pytest.fixture
def at():
    return sweeps.Progress(
        stage="train",
        program="tanh",
        index=1,
        programs=12,
        points=27,
        step=40,
        steps=160,
        elapsed=3.0,
        remaining=9.4,
    )


def test_progress_in_words(at):
    assert _live.doing(at) == "training tanh (2 of at most 12): 27 at once, step 40/160"
    compiling = dataclasses.replace(at, stage="compile")
    assert _live.doing(compiling) == "compiling tanh (2 of at most 12)"


def test_plain_progress_is_a_line_for_each_program_and_stage(at):
    out = io.StringIO()
    with _live.live(Console(file=out, force_terminal=False, width=40)) as tell:
        for stage in ("compile", "train", "train", "train"):
            tell(dataclasses.replace(at, stage=stage))
    lines = out.getvalue().splitlines()
    assert lines == [
        "compiling tanh (2 of at most 12), 3 s, about 9 s left",
        "training tanh (2 of at most 12): 27 at once, step 40/160, 3 s, about 9 s left",
    ]


def test_live_progress_draws_a_bar(at):
    out = io.StringIO()
    with _live.live(Console(file=out, force_terminal=True, width=120)) as tell:
        tell(at)
    assert "training tanh" in out.getvalue()
    assert "about 9 s left" in out.getvalue()
