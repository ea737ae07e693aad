"""Text that lenses are fitted on: documents from files or from the model itself, cut into windows."""
