"""How lenses do: beside the output on text, on answers that a model knows, and on what it has in mind."""
