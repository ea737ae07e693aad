"""Per architecture of llama.cpp: the keys of its files, and what becomes of a checkpoint's tensors in them."""

from benchmarks.gguf.layouts import dense, experts, gemma, recurrent
from benchmarks.gguf.layouts.layout import Layout

LAYOUTS: dict[str, Layout] = dense.LAYOUTS | gemma.LAYOUTS | experts.LAYOUTS | recurrent.LAYOUTS
"""By llama.cpp's name of the architecture."""
