"""The command line: `dispatch-grpc`, or `python -m dispatch_grpc`.

====  ==========================================================================
code  meaning
====  ==========================================================================
0     done
1     the request failed, or is too large; a call that was waited for failed or
      did not finish in time; `doctor` found something; an extra is missing, or
      the output could not be written
2     invalid options, settings, JSON, calls or modules; nothing was sent
130   interrupted by Ctrl-C (which stops `run`, `echo`, `serve`, `dev` and `relay`
      with 0; a second one ends the last three immediately, with 130 or 143)
141   done, but the reader closed the output early
====  ==========================================================================

An error is one line on stderr; `batch` prints one for each invalid line, and a summary. If the
module of `run` cannot be imported, its traceback is shown too.
"""

import os
from collections.abc import Sequence

import click

from dispatch_grpc import (
    CallError,
    ConfigurationError,
    DispatchError,
    InvalidCallError,
    RPCError,
)
from dispatch_grpc.cli import calls, dispatching, operate
from dispatch_grpc.cli.complete import complete
from dispatch_grpc.cli.conformance import conformance
from dispatch_grpc.cli.dev import dev
from dispatch_grpc.cli.doctor import doctor
from dispatch_grpc.cli.migrate import migrate
from dispatch_grpc.cli.output import complain, print_lines
from dispatch_grpc.cli.policy import policy
from dispatch_grpc.cli.relay import outbox, relay
from dispatch_grpc.cli.run import echo, run
from dispatch_grpc.cli.schedules import schedules
from dispatch_grpc.cli.serve import serve


def main(args: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        args: The arguments; None means those of the process.

    Returns:
        The exit code, by the table of this module.
    """
    color = False if os.environ.get("NO_COLOR") else None  # None: only on a terminal
    try:
        name = "dispatch-grpc"
        return commands.main(args, prog_name=name, standalone_mode=False, color=color) or 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 130
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        hint = f" (see '{context.command_path} --help')" if context else ""
        return complain(error.format_message() + hint, error.exit_code)
    except (ConfigurationError, InvalidCallError) as error:
        return complain(str(error), 2)
    except CallError as error:
        return complain(f"the call failed: {error}", 1)
    except RPCError as error:
        return complain(f"{error}{_how_to_try_again(error)}", 1)
    except (DispatchError, OSError, ImportError) as error:  # ImportError: an extra is missing
        return complain(str(error), 1)


def _how_to_try_again(error: RPCError) -> str:
    """Return advice for an error after which calls may have been recorded."""
    if error.idempotency_key is None or not isinstance(error, TimeoutError | ConnectionError):
        return ""
    return (
        f"; the service may have recorded the calls: retry with --idempotency-key "
        f"{error.idempotency_key} to avoid duplicates"
    )


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Exit codes:
  0    done
  1    the request failed; a call that was waited for failed or did not
       finish in time; an extra is missing
  2    invalid options or input; nothing was sent
  130  interrupted by Ctrl-C
  141  done, but the reader closed the output early
An error is one line on stderr.

\b
Shell completion, for bash (also zsh and fish):
  eval "$(_DISPATCH_GRPC_COMPLETE=bash_source dispatch-grpc)"
If nothing works: 'dispatch-grpc doctor'.""",
)
@click.version_option(package_name="dispatch-grpc", message="%(prog)s %(version)s")
def commands() -> None:
    """Run a Dispatch service, dispatch calls to it, and serve functions.

    The service records every dispatched call and runs it asynchronously and durably. The
    commands read its URL from DISPATCH_API_URL and the API key from DISPATCH_API_KEY; 'serve'
    prints both.
    """


@commands.command()
def keypair() -> None:
    """Print a new pair of keys for signing requests to endpoints.

    The output has the form of a shell script or an .env file. Give DISPATCH_SIGNING_KEY, which
    is secret, to the service only, and DISPATCH_VERIFICATION_KEY to the endpoints.
    """
    from dispatch_grpc.endpoint.signature import new_key_pair

    pair = new_key_pair()
    click.echo(
        "# Give DISPATCH_SIGNING_KEY, which is secret, to the service only, "
        "and DISPATCH_VERIFICATION_KEY to the endpoints",
        err=True,
    )
    print_lines(
        [
            f"DISPATCH_SIGNING_KEY={pair.signing_key}",
            f"DISPATCH_VERIFICATION_KEY={pair.verification_key}",
        ]
    )


for _command in (
    *(dev, run, echo, serve, migrate, policy, schedules, relay, outbox),
    *(*dispatching.COMMANDS, *calls.COMMANDS, complete, *operate.COMMANDS, conformance, doctor),
):
    commands.add_command(_command)
