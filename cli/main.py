"""The `crackmap` command: its sub-commands, and what an error looks like."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from importlib.metadata import version
from typing import Any

import click

from crackmap.calibration.errors import CrackmapError
from crackmap.cli.console import echo
from crackmap.cli.group import LazyGroup

COMMANDS = {
    "run": "crackmap.cli.run",
    "check": "crackmap.cli.check",
    "plan": "crackmap.cli.plan",
    "status": "crackmap.cli.status",
    "demo": "crackmap.cli.demo",
    "screen": "crackmap.cli.screen",
    "detect": "crackmap.cli.detect",
    "segment": "crackmap.cli.segment",
    "measure": "crackmap.cli.measure",
    "explain": "crackmap.cli.explain",
    "sections": "crackmap.cli.sections",
    "maps": "crackmap.cli.maps",
    "view": "crackmap.cli.view",
    "compare": "crackmap.cli.compare",
    "export": "crackmap.cli.export",
    "import": "crackmap.cli.import_",
    "calibrate": "crackmap.cli.calibrate",
    "synth": "crackmap.cli.synth",
    "models": "crackmap.cli.models",
    "datasets": "crackmap.cli.datasets",
    "train": "crackmap.cli.train",
    "evaluate": "crackmap.cli.evaluate",
    "info": "crackmap.cli.info",
}
"""Sub-commands in the order a user meets them, each with its module, which holds it as `command`."""

EXIT_CODES = """\b
Exit codes:
  0 done                          5 output in use or of another run
  1 internal error                6 output cannot be written
  2 wrong usage                   7 weights refused
  3 done, some frames skipped     8 device not available
  4 bad input or configuration    130, 143 interrupted"""


@click.group(
    cls=LazyGroup, modules=COMMANDS, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]}
)  # fmt: skip
@click.version_option(version("crackmap"), prog_name="crackmap")
@click.option("--debug", is_flag=True, help="Show the full traceback of an error.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """From the image folders of road-survey vehicles to crack maps.

    \b
    Try it:           crackmap demo
    Your own folder:  crackmap run SURVEY -o OUT --gsd MM_PER_PX
    """
    ctx.obj = {"debug": debug}


def _terminate(_signal: int, _frame: Any) -> None:
    sys.exit(143)


def main() -> None:
    """Runs the command line; every expected error becomes one sentence and its exit code."""
    debug = "--debug" in sys.argv[1:]
    signal.signal(signal.SIGTERM, _terminate)
    # NumPy's matrices are small here: threads of its own would only wait, and keep the nets from the processors.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        result = cli.main(standalone_mode=False)
        sys.exit(result if isinstance(result, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        echo("Interrupted. Run the same command again to go on.", err=True)
        sys.exit(130)
    except CrackmapError as error:
        _report(str(error), debug)
        sys.exit(error.exit_code)
    except ImportError as error:
        _report(_import_remedy(error), debug)
        sys.exit(1)
    except Exception as error:
        _report(f"internal error: {type(error).__name__}: {error}\nPlease report it with the output of "
                "the same command after `crackmap --debug`.", debug)  # fmt: skip
        sys.exit(1)


def _import_remedy(error: ImportError) -> str:
    """What to do about a library that does not load."""
    if "libGL" in str(error) or "libgthread" in str(error):
        return (
            f"OpenCV lacks a system library ({error}). On a server without a screen: "
            "`apt-get install libgl1 libglib2.0-0`, or `pip install --force-reinstall opencv-python-headless`."
        )
    return f"a library is missing ({error}). Install crackmap again: pip install --force-reinstall crackmap"


def _report(message: str, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    echo(f"Error: {message}", err=True)


if __name__ == "__main__":
    main()
