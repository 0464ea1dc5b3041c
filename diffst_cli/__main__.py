"""Where `diffst` and `python -m diffst_cli` begin."""

import io
import os
import signal
import sys


def main() -> int:
    """Run the command line; gives the exit code.

    Until the command line runs and after it has, there is nothing to clean up: Ctrl-C just leaves.
    """
    if os.name == "nt":  # which has no locks and limits as are used here
        sys.stderr.write("error: diffst does not run on Windows itself\nhint: run it in WSL\n")
        return 1
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        # As stderr does it: a file's name may hold bytes that are no text.
        sys.stdout.reconfigure(errors="backslashreplace")
    from diffst_cli.app import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
