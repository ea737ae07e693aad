"""Benchmarks of models that are larger than the memory they may take."""
