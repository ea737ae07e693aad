"""The command line: arguments in, printing out."""


def main() -> None:
    """Run the `layerwise` command."""
    from layerwise.cli.app import run_app

    run_app()
