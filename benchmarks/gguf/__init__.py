"""GGUF files as llama.cpp's converter writes them, and three readers of each: the original, layerwise, llama.cpp."""
