import pytest
import torch

from layerwise.fitting.kl_gradient import kl_gradient, take_columns


@pytest.fixture(params=["qwen3", "gemma2"])
def head(request, load_family):
    """One head without a soft-cap, one with."""
    return load_family(request.param)._loaded.output_head


def rows(head, n_rows=3, n_places=7):
    draw = torch.Generator().manual_seed(0)
    width = head.weight.shape[1]
    return torch.randn(n_rows, n_places, width, generator=draw), torch.randn(n_places, width, generator=draw)


def by_autograd(head, normed, output):
    x = normed.double().requires_grad_()
    with torch.enable_grad():

        def log_softmax(given):
            z = given @ head.weight.double().T * head.transform.scale
            cap = head.transform.softcap
            return (z if cap is None else cap * torch.tanh(z / cap)).log_softmax(-1)

        said, read = log_softmax(output.double()), log_softmax(x)
        losses = (said.exp() * (said - read)).sum(-1).mean(-1)
        losses.sum().backward()
    assert x.grad is not None
    return losses.detach(), x.grad


@torch.no_grad()
def test_loss_and_gradient_are_autograds(head, monkeypatch):
    monkeypatch.setattr("layerwise.fitting.kl_gradient._TILE", 4000)
    normed, output = rows(head)
    every = torch.arange(head.vocab_size)
    columns = take_columns(head, every, torch.ones(head.vocab_size))
    losses, gradient = kl_gradient(normed, output, head.logits(output).logsumexp(-1), columns)
    expected, expected_gradient = by_autograd(head, normed, output)
    torch.testing.assert_close(losses.double(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=1e-3, atol=1e-5)


@torch.no_grad()
def test_tokens_that_stand_for_the_rest_give_the_gradient_on_average(head):
    normed, output = rows(head)
    lse = head.logits(output).logsumexp(-1)
    _, expected = by_autograd(head, normed, output)
    draw = torch.Generator().manual_seed(1)
    read = [head.logits(each).softmax(-1).mean(0) for each in (output, *normed)]
    probable = torch.stack(read).mean(0).topk(400).indices
    others = torch.tensor(sorted({*range(head.vocab_size)} - {*probable.tolist()}))
    total = torch.zeros_like(normed)
    for _ in range(200):
        drawn = others[torch.randperm(len(others), generator=draw)[:60]]
        stands_for = torch.cat([torch.ones(400), torch.full((60,), len(others) / 60)])
        columns = take_columns(head, torch.cat([probable, drawn]), stands_for)
        total += kl_gradient(normed, output, lse, columns)[1]
    error = (total / 200 - expected.float()).norm() / expected.float().norm()
    assert error < 0.05
