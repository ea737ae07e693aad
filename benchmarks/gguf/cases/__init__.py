"""Every case: per architecture, settings that its files tell, one by one and together, and settings that they lose."""

from benchmarks.gguf.case import Case
from benchmarks.gguf.cases import experts, gemma, llama_like, phi_and_others, recurrent

CASES: list[Case] = [
    case
    for part in (llama_like, gemma, phi_and_others, experts, recurrent)
    for name, found in vars(part).items()
    if name.isupper() and isinstance(found, list) and not name.startswith("_")
    for case in found
]
