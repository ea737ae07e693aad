"""Fitted lenses: what they are, where they lie, and finding the one that is meant."""
