"""The commands, each a thin layer: options in, one call of the library, tables or JSON out."""

import math
from pathlib import Path
from typing import Any

import click

from jgrad import __version__

from ._output import as_json, dump, plain, say, show

_PATH = click.Path(path_type=Path)
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def _names(text: str) -> tuple[str, ...]:
    """Names between commas, as a tuple; at least one."""
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names:
        msg = f"names between commas are wanted, got {text!r}"
        raise click.BadParameter(msg)
    return names


def _scale(text: str) -> float:
    """A finite number that is at least 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        msg = f"a number of at least 0 is wanted, got {text!r}"
        raise click.BadParameter(msg)
    return value


def _examples(*lines: str) -> str:
    """The end of a command's help: its lines are kept as they are."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


@click.group(context_settings=_CONTEXT)
@click.version_option(__version__, prog_name="jgrad")
def jgrad() -> None:
    """See, predict and repair the gradient flow of any JAX function."""


@jgrad.command(
    epilog=_examples(
        "jgrad activations",
        "jgrad activations tanh --plot tanh.png",
    )
)
@click.argument("name", required=False)
@click.option(
    "--plot", type=_PATH, help="Draw the activation NAME to this file (.png, .svg, .pdf)."
)
@as_json
def activations(name: str | None, plot: Path | None, as_json: bool) -> None:
    """The table of activations: range, slope, Lipschitz constant, kinks, Gaussian gains.

    With NAME, that one alone; with --plot its φ, φ' and φ'', the saturated region shaded, and where
    autodiff's slope is falsely zero.
    """
    from jgrad import activations as library
    from jgrad import reports, theory

    if plot is not None and name is None:
        msg = "--plot draws one activation: name it, as in: jgrad activations tanh --plot tanh.png"
        raise click.UsageError(msg)
    functions = library.CATALOG if name is None else {name: library.get(name)}
    traits = {phi.__name__: library.traits(phi) for phi in functions.values()}
    gains = {}
    for phi in functions.values():
        try:
            gains[phi.__name__] = theory.moments(phi)
        except ValueError:  # no second moment under a Gaussian
            continue
    if as_json:
        dump({n: {**plain(t), "moments": gains.get(n)} for n, t in traits.items()})
    else:
        show(reports.terminal.activations(traits, gains))
        if name is not None:
            say(f"source: {traits[next(iter(traits))].source}")
    if plot is not None and name is not None:
        path = reports.plot_activation(name, plot)
        click.echo(f"wrote {path}", err=True)


@jgrad.command(
    epilog=_examples(
        "jgrad theory tanh --sigma-b 0.3",
        "jgrad theory relu --sigma-w 1.0 --plot plane.png",
    )
)
@click.argument("activation")
@click.option(
    "--sigma-w", type=_scale, metavar="NUMBER", help="Scale of the weights, √(fan_in · variance)."
)
@click.option(
    "--sigma-b",
    type=_scale,
    metavar="NUMBER",
    default="0",
    show_default=True,
    help="Scale of the biases.",
)
@click.option("--plot", type=_PATH, help="Draw the order-to-chaos plane to this file.")
@as_json
def theory(
    activation: str, sigma_w: float | None, sigma_b: float, plot: Path | None, as_json: bool
) -> None:
    """What mean-field theory says of a deep net of this ACTIVATION, in numbers.

    Gaussian moments, the critical points at σ_b, and (at --sigma-w, else at the critical points)
    where layers lead, whether gradients shrink or grow, and over how many layers.
    """
    from jgrad import activations as library
    from jgrad import reports
    from jgrad import theory as library_theory

    phi = library.get(activation)
    moments = library_theory.moments(phi)
    none = None
    try:
        critical = library_theory.critical(phi, sigma_b)
    except ValueError as error:
        critical, none = (), str(error)
    places = [(sigma_w, 1.0)] if sigma_w is not None else list(critical)
    points = {w: library_theory.fixed_point(phi, w, sigma_b, q0=q or 1e-12) for w, q in places}
    if as_json:
        dump(
            {
                "activation": phi.__name__,
                "sigma_b": sigma_b,
                "moments": moments,
                "critical": [{"sigma_w": w, "q": q} for w, q in critical],
                "no_critical_point": none,
                "fixed_points": [
                    {
                        "sigma_w": w,
                        **plain(p),
                        "xi_q": p.xi_q,
                        "xi_c": p.xi_c,
                        "xi_gradient": p.xi_gradient,
                    }
                    for w, p in points.items()
                ],
            }
        )
    else:
        show(*reports.terminal.phases(phi.__name__, sigma_b, moments, critical, points))
        if none is not None:
            say(none)
    if plot is not None:
        path = reports.plot_phases(phi.__name__, plot, sigma_b=sigma_b)
        click.echo(f"wrote {path}", err=True)


@jgrad.command(
    epilog=_examples(
        "jgrad probe my_model:make",
        "jgrad probe my_model.py:loss --data arrays.npz --steps 100",
    )
)
@click.argument("target")
@click.option("--data", type=_PATH, help="A .npz with the loss's arguments, by name.")
@click.option(
    "--steps", type=click.IntRange(min=0), default=0, show_default=True, help="Train so long first."
)
@click.option("--optimizer", default="adam", show_default=True, help="For --steps.")
@click.option("--learning-rate", type=float, default=1e-3, show_default=True, help="For --steps.")
@as_json
def probe(
    target: str, data: Path | None, steps: int, optimizer: str, learning_rate: float, as_json: bool
) -> None:
    """Measure the gradient flow in your own function.

    TARGET is a factory `module:make` (or `file.py:make`) without arguments that returns
    (loss, params, batch): the loss is called as loss(params, batch). Or, with --data, it is the
    loss itself, and the file holds an array for each argument by its name; "params/dense/kernel" is
    a leaf of a nested `params`. The first argument is what is trained.
    """
    from jgrad import diagnosis, reports

    from ._probe import measured
    from ._target import arguments, find, made

    function = find(target)
    if data is None:
        loss, given = made(function, target)
    else:
        loss, given = function, arguments(function, data)
    stages, history = measured(
        loss, given, steps=steps, optimizer=optimizer, learning_rate=learning_rate
    )
    told = []
    for stage in stages:
        profile = diagnosis.Profile.of(stage.flow)
        findings = diagnosis.diagnose(profile, history if len(history) > 1 else None)
        lines = [diagnosis.headline(profile, stage.chain), diagnosis.narrowest(profile)]
        if stage.chain is not None:
            lines.append(str(stage.chain))
        if stage.first_nonfinite is not None:
            lines.append(str(stage.first_nonfinite))
        told.append((stage, profile, lines, findings))
    if as_json:
        dump(
            {
                "loss": history,
                "flows": [
                    {
                        "step": stage.step,
                        "sites": profile.names,
                        "activations": profile.activations,
                        **{name: values[0] for name, values in profile.values.items()},
                        "headline": lines[0],
                        "narrowest": lines[1],
                        "theory": stage.chain and stage.chain._asdict(),
                        "first_nonfinite": stage.first_nonfinite,
                        "findings": findings,
                    }
                    for stage, profile, lines, findings in told
                ],
            }
        )
        return
    for stage, profile, lines, findings in told:
        say(f"step {stage.step}, loss {stage.loss:.4g}")
        show(reports.terminal.flow(profile))
        for line in lines:
            say(line)
        _tell(findings)
        say()


@jgrad.command(
    epilog=_examples(
        "jgrad compare",
        "jgrad compare --activations tanh,relu --depth 50 --seeds 5 --out deep",
        "jgrad compare --model transformer --data digits_rows --axis order=pre,post --depth 4",
    )
)
@click.option("--activations", type=_names, metavar="A,B,...", help="Names between commas.")
@click.option("--inits", type=_names, metavar="A,B,...", help="Initialisers, between commas.")
@click.option(
    "--remedies",
    type=_names,
    metavar="A,B,...",
    help='Remedies for what fails, between commas; "none".',
)
@click.option("--model", help="Architecture: mlp, residual_mlp, cnn, resnet, rnn, lstm, ...")
@click.option("--depth", type=int, help="Hidden layers.")
@click.option("--width", type=int, help="Units of a hidden layer.")
@click.option("--optimizer", help="Of the base grid.")
@click.option(
    "--learning-rates",
    type=_names,
    metavar="A,B,...",
    multiple=True,
    help="0.01,0.1 for the base grid's optimiser, or adam=0.001,0.01 for another; repeatable.",
)
@click.option("--steps", type=int, help="Training steps.")
@click.option("--batch", type=int, help="Examples in a step.")
@click.option("--seeds", type=click.IntRange(min=1), help="How many seeds.")
@click.option("--data", help="A data set's name, as digits or adding:length=50, or a .npz.")
@click.option(
    "--set",
    metavar="NAME=VALUE",
    multiple=True,
    help="Any other field of the model, the optimiser chain or the trial, for all; repeatable.",
)
@click.option(
    "--axis",
    metavar="NAME=A,B,...",
    multiple=True,
    help="Train every combination of these values in place of a search for remedies; repeatable.",
)
@click.option(
    "--distributed",
    is_flag=True,
    help="Share the work with the other processes of a Slurm job or a TPU pod.",
)
@click.option(
    "--coordinator",
    metavar="HOST:PORT",
    help="Share it with processes started by hand; --processes and --process too.",
)
@click.option("--processes", type=click.IntRange(min=1), help="How many there are.")
@click.option("--process", type=click.IntRange(min=0), help="Which of them this is, from 0.")
@click.option(
    "--out",
    type=_PATH,
    default=Path("jgrad-report"),
    show_default=True,
    help="Folder for the results and report.html; a run cut short goes on where it was.",
)
@as_json
def compare(
    out: Path,
    as_json: bool,
    distributed: bool,
    coordinator: str | None,
    processes: int | None,
    process: int | None,
    **options: Any,
) -> None:
    """Train deep networks side by side: which train, how fast, and why.

    Every activation with every initialiser, at several learning rates and seeds; then remedies for
    those that fail. Prints the ranking and the conclusion, leaves OUT/report.html.
    """
    from jgrad import reports, sweeps

    from ._devices import join, use_every_core
    from ._live import live
    from ._preset import plan

    asked = plan(options)
    use_every_core()
    first = join(distributed, coordinator, processes, process)
    with live() as progress:
        dataset = sweeps.compare(asked, output=out, progress=progress)
    if not first:
        return
    summary = reports.summarise(dataset)
    path = reports.write(dataset, out / "report.html")
    if as_json:
        dump({**reports.as_plain(summary), "report": str(path)})
        return
    show(reports.terminal.ranking(summary))
    say()
    say(str(reports.conclude(summary)))
    say()
    say(f"report: {path}")


@jgrad.command()
@click.argument("results", type=_PATH)
@as_json
def diagnose(results: Path, as_json: bool) -> None:
    """What is wrong with each configuration of a finished comparison, and what to do.

    RESULTS is the folder that `jgrad compare` wrote, or the results.nc in it. For a function of
    your own see `jgrad probe`.
    """
    from jgrad import reports

    summary = reports.summarise(_load(results))
    if as_json:
        dump({entry.label: entry.findings for entry in summary.entries})
        return
    for entry in summary.entries:
        say(f"{entry.label}: {entry.outcome}")
        if entry.findings:
            _tell(entry.findings)


@jgrad.command()
@click.argument("results", type=_PATH)
@click.option("--out", type=_PATH, help="The page to write; default: report.html beside RESULTS.")
@as_json
def report(results: Path, out: Path | None, as_json: bool) -> None:
    """Write the report of a finished comparison again, and print its ranking.

    RESULTS is the folder that `jgrad compare` wrote, or the results.nc in it.
    """
    from jgrad import reports

    dataset = _load(results)
    summary = reports.summarise(dataset)
    path = reports.write(dataset, out or _file(results).with_name("report.html"))
    if as_json:
        dump({**reports.as_plain(summary), "report": str(path)})
        return
    show(reports.terminal.ranking(summary))
    say()
    say(str(reports.conclude(summary)))
    say()
    say(f"report: {path}")


def _load(results: Path) -> Any:
    from jgrad import results as library

    return library.load(_file(results))


def _file(results: Path) -> Path:
    """The dataset that a folder or a file stands for."""
    file = results / "results.nc" if results.is_dir() else results
    if not file.is_file():
        msg = f"{file}: no such file; `jgrad compare --out {results}` makes it"
        raise click.ClickException(msg)
    return file


def _tell(findings: Any) -> None:
    for finding in findings:
        say(f"  {finding}")
        for remedy in finding.remedies:
            say(f"    - {remedy}")
