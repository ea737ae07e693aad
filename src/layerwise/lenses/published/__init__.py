"""Lenses that others published, read without running any code that is in their files."""
