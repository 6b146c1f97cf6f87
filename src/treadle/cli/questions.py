"""What somebody at the terminal is asked before something is done."""

import signal

import typer

from treadle.cli.output import stderr


def agrees(question: str) -> bool:
    """Whether somebody at the terminal says yes. Raises KeyboardInterrupt, as Ctrl-C does anywhere else."""
    signal.siginterrupt(signal.SIGINT, True)  # a library may have had reads go on after Ctrl-C
    try:
        return typer.confirm(question, err=True)
    except typer.Abort as ended:
        if isinstance(ended.__context__, KeyboardInterrupt):
            stderr.print()  # the question's line ends
            raise KeyboardInterrupt from None
        raise
