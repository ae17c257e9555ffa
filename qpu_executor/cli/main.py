"""The `qpu` command itself: registers the verbs, and turns errors into exit codes.

Exit codes: 0 done, 1 the work failed, 2 usage or configuration, 3 the manager
can't be reached, 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from qpu_executor import __version__
from qpu_executor.cli.failures import report

app = typer.Typer(
    name="qpu",
    help="Hybrid workflows on a shared QPU: run pipelines, submit tasks, see where they stand.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(show: bool) -> None:
    if show:
        print(f"qpu-executor {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """Options of the command itself."""


def _register() -> None:
    """Add the verbs; each imports what it needs only when it runs."""
    from qpu_executor.cli import (
        admin,
        explain,
        farm,
        operate,
        replay,
        run,
        serve,
        sessions,
        simulate,
        site,
        tasks,
        tokens,
        top,
        windows,
    )
    from qpu_executor.cli.doctor import command

    app.command("run")(run.run)
    app.command("submit")(tasks.submit)
    app.command("queue")(tasks.queue)
    app.command("show")(tasks.show)
    app.command("result")(tasks.result)
    app.command("cancel")(tasks.cancel)
    app.command("hold")(tasks.hold)
    app.command("release")(tasks.release)
    app.command("info")(site.info)
    app.command("doctor")(command.doctor)
    app.command("why")(explain.why)
    app.command("prio")(explain.prio)
    app.command("share")(explain.share)
    app.command("estimate")(explain.estimate)
    app.command("top")(top.top)
    app.command("drain")(operate.drain)
    app.command("resume")(operate.resume)
    app.command("calibrate")(operate.calibrate)
    app.command("requeue")(operate.requeue)
    app.command("settle")(operate.settle)
    app.add_typer(windows.window, name="window")
    app.add_typer(operate.policy, name="policy")
    app.add_typer(tokens.token, name="token")
    app.add_typer(sessions.session, name="session")
    app.command("serve")(serve.serve)
    app.add_typer(admin.admin, name="admin")
    app.add_typer(farm.farm, name="farm")
    app.command("simulate")(simulate.simulate)
    app.command("replay")(replay.replay)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit with its code. Errors are one clear message, never a trace."""
    _register()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        app(words, standalone_mode=False)
    except SystemExit:
        raise
    except BaseException as error:
        sys.exit(report(error, as_json="--json" in words))
    sys.exit(0)


if __name__ == "__main__":
    main()
