"""Fitting lenses: text, estimators, and carrying a fit through to the end."""
