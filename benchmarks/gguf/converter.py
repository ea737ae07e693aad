"""llama.cpp's own converter, run over checkpoints in a process of its own."""

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gguf.writer import tokenizer_keys

PINNED = "llama-cpp-python==0.3.36"
"""The package of PyPI whose source distribution has the converter."""


def find(given: str, workplace: Path) -> Path:
    """Return the folder of llama.cpp's sources: the given one, or `download` for the pinned version."""
    if given != "download":
        folder = Path(given)
    else:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=llama-cpp-python"]
        subprocess.run([*command, "--dest", workplace, PINNED], check=True)
        [packed] = workplace.glob("llama_cpp_python-*.tar.gz")
        with tarfile.open(packed) as archive:
            archive.extractall(workplace, filter="data")
        folder = packed.with_name(packed.name.removesuffix(".tar.gz")) / "vendor" / "llama.cpp"
    if not (folder / "convert_hf_to_gguf.py").exists():
        raise SystemExit(f"There is no convert_hf_to_gguf.py in {folder}. Give the folder of llama.cpp's sources.")
    return folder


def convert(sources: Path, jobs: Sequence[tuple[Path, Path, dict]], workplace: Path) -> list[str]:
    """Convert each of `jobs` (checkpoint, file to write, older settings); return what went wrong with each, or ""."""
    driver = workplace / "convert.py"
    driver.write_text(_DRIVER, encoding="utf-8")
    asked = {"sources": str(sources), "tokenizer": tokenizer_keys()}
    asked["jobs"] = [[str(folder), str(file), older] for folder, file, older in jobs]
    done = subprocess.run(
        [sys.executable, driver],
        input=json.dumps(asked),
        text=True,
        capture_output=True,
        cwd=workplace,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"The converter's process failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


_DRIVER = '''
"""Runs the converter's own classes. The vocabulary alone is ours: the converter refuses those it does not know."""
import json, logging, sys, traceback
from pathlib import Path
asked = json.load(sys.stdin)
sys.path[:0] = [asked["sources"], asked["sources"] + "/gguf-py"]
import gguf, torch
import convert_hf_to_gguf as converter
from convert_hf_to_gguf import ModelBase, ModelType, get_model_architecture, get_model_class

logging.disable(logging.CRITICAL)

def add(writer, name, value):
    kinds = {bool: "add_bool", int: "add_uint32", str: "add_string", list: "add_array"}
    getattr(writer, kinds[type(value)])(name, value)

def set_vocab(self):
    for name, value in asked["tokenizer"].items():
        add(self.gguf_writer, name, value)

failures = []
for folder, file, older in asked["jobs"]:
    try:
        with torch.inference_mode():
            settings = ModelBase.load_hparams(Path(folder), False) | older
            base = get_model_class(get_model_architecture(settings, ModelType.TEXT))
            own = {"set_vocab": set_vocab, "model_arch": base.model_arch, "no_mtp": True}
            kind = type(base.__name__, (base,), own)
            given = {"hparams": settings} if older else {}
            kind(Path(folder), gguf.LlamaFileType.ALL_F32, Path(file), eager=True, **given).write()
        failures.append("")
    except Exception as error:
        failures.append(f"{type(error).__name__}: {error} ({traceback.extract_tb(error.__traceback__)[-1].name})")
print()
print(json.dumps(failures))
'''
