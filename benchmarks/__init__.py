"""Speed and memory of layerwise beside other tools: `python -m benchmarks --help`."""
