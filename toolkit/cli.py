"""The command `toolkit`: a thin shell over functions of the same names.

The commands stand in one table with their one-line help, so that `toolkit --help` loads none of
them. Every error that the toolkit raises on purpose becomes one line on stderr and an exit code: 1 a
gate failed, 2 bad input; anything unforeseen leaves with 3, so a crash never reads as a verdict.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import click

from toolkit import __version__
from toolkit.errors import ToolkitError

# command -> module and what it does; the order is the order of work
COMMANDS = {
    "demo": ("toolkit.commands.demo", "The whole line on real data, from training to a served answer."),
    "doctor": ("toolkit.commands.doctor", "What this machine can run, and what is missing."),
    "data": ("toolkit.commands.data", "Data sets known: rows, classes, licence, where they lie."),
    "train": ("toolkit.commands.train", "Train a classifier on text, images or ratings."),
    "distill": ("toolkit.commands.distill", "Train a smaller network to answer like a larger one."),
    "prune": ("toolkit.commands.prune", "Cut heads, neurons, layers or channels, and recover."),
    "trim": ("toolkit.commands.trim", "Leave out of a vocabulary what the data does not use."),
    "export": ("toolkit.commands.export", "Export a classifier, ours or hf:PATH, to ONNX; parity is checked."),
    "quantize": ("toolkit.commands.quantize", "Store and run an ONNX artifact in fewer bits."),
    "build": ("toolkit.commands.build", "Put an ONNX artifact into a GPU's precision, and build its engine."),
    "quantize-aware": ("toolkit.commands.quantize_aware", "Train a classifier to stand INT8, and export that."),
    "cascade": ("toolkit.commands.cascade", "Join a small model and a large one for the rows it is unsure of."),
    "temperature": ("toolkit.commands.temperature", "Fit the temperature again, so that scores mean what they say."),
    "optimize": ("toolkit.commands.optimize", "The best form of a model within a budget, by search and measurement."),
    "check": ("toolkit.commands.check", "Is this artifact whole? Digests and golden self-test."),
    "verify": ("toolkit.commands.verify", "Is the candidate as good as the reference? Paired, on the same rows."),
    "bench": ("toolkit.commands.bench", "Latency, throughput, memory and load time of artifacts."),
    "report": ("toolkit.commands.report", "One page on what was measured: verdict, plots, tables, changed rows."),
    "sign": ("toolkit.commands.sign", "Sign an artifact, so that a server takes no other."),
    "verify-signature": ("toolkit.commands.verify_signature", "Did the owner of a key sign this artifact?"),
    "encrypt": ("toolkit.commands.encrypt", "Seal an artifact at rest; the key comes from the environment."),
    "decrypt": ("toolkit.commands.decrypt", "Open a sealed artifact again."),
    "package": ("toolkit.commands.package", "Pack an artifact as a bento."),
    "serve": ("toolkit.commands.serve", "Serve an artifact or a bento over HTTP."),
    "swap": ("toolkit.commands.swap", "Let a running server answer with another version."),
    "rollback": ("toolkit.commands.rollback", "Let a running server answer with the previous version again."),
    "shadow": ("toolkit.commands.shadow", "Compare a version with a running server's, on its live requests."),
    "key": ("toolkit.commands.key", "API keys of a server: add, list, remove."),
    "completion": ("toolkit.commands.completion", "Print the tab completion of a shell."),
}


class Commands(click.Group):
    """A group that imports a command when it is called, and not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in COMMANDS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="toolkit")
def cli() -> None:
    """Train a classifier, make it small, prove it right, serve it fast.

    \b
    Example, from data to a served answer:
      toolkit train text --data trec --net transformer --from minilm -o runs/trec
      toolkit export runs/trec -o runs/trec-onnx
      toolkit quantize runs/trec-onnx --mode static --data trec -o runs/trec-int8
      toolkit verify runs/trec-onnx runs/trec-int8 --data trec --max-drop 0.01
      toolkit serve runs/trec-int8
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # the exporter's warnings in C++, which parity answers
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code and prints one line for an error of the user's."""
    try:
        result = cli.main(args=list(arguments) if arguments is not None else None, standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("toolkit: interrupted; the same command goes on where it stopped", err=True)
        return 130
    except click.ClickException as error:
        return _complain(_usage_line(error), 2)
    except ToolkitError as error:
        return _complain(str(error), error.exit_code)
    except BrokenPipeError:
        return 0
    except ModuleNotFoundError as error:
        from toolkit.doctor import extra_of

        extra = extra_of(error.name or "")
        if extra is None:
            return _unforeseen()
        return _complain(f"{error.name} is not installed; it comes with: pip install 'serving-toolkit[{extra}]'", 2)
    except Exception:
        return _unforeseen()


def _unforeseen() -> int:
    import traceback

    traceback.print_exc()
    return _complain("an error that nobody foresaw, above; please report it with the command", 3)


def _usage_line(error: click.ClickException) -> str:
    words = " ".join(error.format_message().split())
    context = getattr(error, "ctx", None)
    return f"{words} See '{context.command_path} --help'." if context else words


def _complain(message: str, exit_code: int) -> int:
    prefix = click.style("toolkit:", fg="red", bold=True) if sys.stderr.isatty() else "toolkit:"
    click.echo(f"{prefix} {message}", err=True)
    return exit_code
