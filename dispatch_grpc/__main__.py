"""`python -m dispatch_grpc`, and the console script `dispatch-grpc`: see `dispatch_grpc.cli`."""

import sys

from dispatch_grpc.errors import missing_extra


def main() -> int:
    """Run the command line.

    Returns:
        The exit code.
    """
    try:
        from dispatch_grpc import cli
    except ImportError as error:
        if error.name is not None and error.name.partition(".")[0] != "click":
            raise
        sys.stderr.write(f"{missing_extra(error, 'the command line', 'cli')}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
