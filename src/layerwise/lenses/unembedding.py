"""Which unembedding a model has: what its lenses are fitted for."""

import hashlib
import weakref

import torch

from layerwise.models.output_head.output_head import OutputHead
from layerwise.models.weights.matrix import slices_of

_known: "weakref.WeakKeyDictionary[OutputHead, str]" = weakref.WeakKeyDictionary()


def unembedding_sum(output_head: OutputHead) -> str:
    """Return the SHA-256 over W_U: its shape, then its numbers in the order of the tokens, as float16.

    They are rounded to bfloat16 first, and float16 has fewer small numbers than that: so the sum of a bfloat16
    checkpoint is the same in whichever precision it runs. Computed once for each loaded model, a slice at a time, from
    disk where the matrix lies there.
    """
    if output_head not in _known:
        digest = hashlib.sha256(f"{tuple(output_head.weight.shape)}\n".encode())
        for _, rows in slices_of(output_head.weight):
            rounded = rows.detach().to("cpu", torch.bfloat16).to(torch.float16)
            digest.update(rounded.contiguous().view(-1).view(torch.uint8).numpy().data)
        _known[output_head] = digest.hexdigest()
    return _known[output_head]
