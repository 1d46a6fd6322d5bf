"""`python -m dispatch_grpc`, and the console script `dispatch-grpc`: see `dispatch_grpc.cli`."""

import sys


def main() -> int:
    """Run the command line.

    Returns:
        The exit code.
    """
    try:
        from dispatch_grpc import cli
    except ModuleNotFoundError as missing:
        if missing.name != "click":
            raise
        sys.stderr.write("the command line needs an extra: pip install 'dispatch-grpc[cli]'\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
