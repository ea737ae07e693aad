"""One file for each kin of architectures that GGUF files are read of."""

from layerwise.models.gguf.families import gemma, gemma4, gpt, llama, mixtures, phi, qwen, qwen_hybrid, recurrent
from layerwise.models.gguf.family import Family

FAMILIES: dict[str, Family] = {
    family.name: family
    for kin in (llama, qwen, qwen_hybrid, gemma, gemma4, phi, gpt, mixtures, recurrent)
    for family in kin.FAMILIES
}
"""By llama.cpp's name of the architecture."""
