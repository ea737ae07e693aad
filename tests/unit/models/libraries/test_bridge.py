import subprocess

import transformers

import layerwise as lw
from benchmarks.tiny import byte_tokenizer, save, tiny_config, tiny_model


def test_the_bridge_of_a_model_of_images_and_text_installs_nothing(tmp_path, monkeypatch):
    """TransformerLens would run pip for torchvision here, which can replace the PyTorch that is in use."""
    ran = []
    monkeypatch.setattr(subprocess, "check_call", lambda *args, **_: ran.append(args))
    save(tiny_model(tiny_config(transformers.Gemma3Config)), byte_tokenizer(), tmp_path)
    assert lw.load(tmp_path, device="cpu").bridge is not None
    assert ran == []
