import torch

from layerwise.capture.observers import LayerByLayer
from layerwise.sites import Site


class Noting(LayerByLayer):
    def __init__(self, count):
        super().__init__(count)
        self.found = []

    def read(self, layer, states):
        self.found.append((layer, states.tolist()))


def test_a_layer_that_comes_in_pieces_is_read_whole_and_in_order():
    noting, states = Noting(3), torch.arange(10.0).reshape(5, 2)
    for layer in range(2):
        site = Site.at_layer(layer)
        for places in ([4, 1], [2, 0, 3]):
            noting.see(site, torch.tensor(places), states[places] + 100 * layer)
        noting.seen(site)
    assert noting.found == [
        (0, [[0, 1], [2, 3], [4, 5]]),
        (1, [[100, 101], [102, 103], [104, 105]]),
    ]


def test_what_is_inside_a_block_is_not_looked_at():
    assert Noting(1).looks_at(Site.at_layer(0))
    assert not Noting(1).looks_at(Site(0, "q"))
