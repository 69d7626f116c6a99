"""The `tuneyard` command: which words there are. What they do stands in their own files."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="tuneyard",
    help="Fine-tune and serve SQL assistants on your own machines.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
models = typer.Typer(help="Base models of this machine.", no_args_is_help=True)
app.add_typer(models, name="models")


@app.command()
def up(
    data_dir: Annotated[
        Path | None, typer.Option(help="State of the platform. [default: TUNEYARD_DATA_DIR]")
    ] = None,
    host: Annotated[str, typer.Option(help="Address that the API listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the API; 0 takes a free one.")] = 8400,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Training workers, which share the GPUs. [default: one a GPU, 1 on a CPU]"
        ),
    ] = None,
) -> None:
    """Run the whole platform on this machine until Ctrl-C."""
    from cli.up import up as run

    raise typer.Exit(run(data_dir=data_dir, host=host, port=port, workers=workers))


@app.command()
def demo(
    model: Annotated[str, typer.Option(help="Base model to tune.")] = "smollm2-135m",
    keep: Annotated[bool, typer.Option(help="Leave the platform running afterwards.")] = False,
    short: Annotated[bool, typer.Option(help="200 pairs, and check what they bring.")] = False,
) -> None:
    """Fine-tune a SQL assistant from nothing and show what it is worth."""
    import httpx

    from cli.client import ApiError, JobEnded
    from cli.demo.run import check, run_demo
    from cli.platform.errors import Refused, StartFailed

    try:
        figures = run_demo(
            data_dir=Path(".tuneyard/demo").absolute(),
            model=model,
            keep=keep,
            train_limit=200 if short else None,
        )
    except (ApiError, JobEnded, Refused, StartFailed, httpx.HTTPError, OSError) as error:
        typer.echo(f"tuneyard demo: {error or type(error).__name__}", err=True)
        raise typer.Exit(2 if isinstance(error, Refused) else 1) from None
    fault = check(figures, gain=0.2) if short else None
    if fault:
        typer.echo(f"tuneyard demo: {fault}", err=True)
        raise typer.Exit(1)


@app.command()
def admin_key() -> None:
    """Print a new admin key, made in the database of TUNEYARD_DATABASE_URL (after compose)."""
    from cli.up import admin_key as run

    raise typer.Exit(run())


@app.command()
def doctor(
    deep: Annotated[bool, typer.Option(help="Hash every file of every model.")] = False,
) -> None:
    """Look over this machine's installation and say what to mend; exit code 1 if it is broken."""
    from cli.doctor import doctor as run

    raise typer.Exit(run(deep=deep))


@models.command()
def fetch(
    source: Annotated[str, typer.Argument(help="A name of the catalogue, or a local directory.")],
    name: Annotated[
        str | None, typer.Option(help="Its name here. [default: the catalogue's, the directory's]")
    ] = None,
) -> None:
    """Bring a base model into the model store."""
    # A process of its own: converting a model needs torch, which the command line does without.
    command = [sys.executable, "-m", "workers.fetch", source]
    command += ["--name", name] if name else []
    raise typer.Exit(subprocess.run(command).returncode)


def main() -> None:
    # A terminal of another character set is no reason to fail: it shows what it can.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")
    app()


if __name__ == "__main__":
    main()
