"""`python -m layerwise` is the `layerwise` command."""

from layerwise.cli import main

main()
