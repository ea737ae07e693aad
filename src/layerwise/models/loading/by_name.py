"""A model by name, folder, file, or already in memory, ready to be read layer by layer."""

import contextlib
import dataclasses
import hashlib
import warnings
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from layerwise.errors import (
    CheckpointWarning,
    CorruptFileError,
    DoesNotFitError,
    LayerwiseError,
    MissingDependencyError,
    ModelError,
    UnsupportedModelError,
)
from layerwise.models.anatomy.anatomy import Anatomy
from layerwise.models.anatomy.decoder import Parts, expects_ahead, find_parts, text_config, weights_behind_last_block
from layerwise.models.anatomy.rope import lengths_of_other_rope
from layerwise.models.checkpoint.checkpoint import ADAPTER, Checkpoint, locate
from layerwise.models.gguf.description import weights_of
from layerwise.models.gguf.hub_folder import read_tokenizer
from layerwise.models.libraries.bridge import make_bridge
from layerwise.models.libraries.quiet import quiet_transformers
from layerwise.models.libraries.refused_settings import what_failed
from layerwise.models.loading.random_weights import draw_model, round_and_move
from layerwise.models.machine.device import (
    Placement,
    bytes_of,
    dtype_name,
    free_memory,
    give_back_memory,
    place,
    place_whole,
    readable_size,
)
from layerwise.models.output_head.output_head import OutputHead, make_output_head
from layerwise.models.residency.assembly import empty_model, fill_whole, stream
from layerwise.models.residency.residency import Residency, Resident
from layerwise.models.sources.names import resolve
from layerwise.models.sources.spec import ModelSpec
from layerwise.models.tokenizing.tokens import Tokenizer
from layerwise.models.weights.expectations import expect_buffers, expect_finite, wrong_shape
from layerwise.models.weights.filler import Weights
from layerwise.models.weights.safetensors import SafetensorsWeights
from layerwise.models.weights.unused import Unused, expect_all_used, expect_one_value
from layerwise.text import harmless
from layerwise.types import ModelInfo, Progress

_NOT_A_DECODER = (
    "ForMaskedLM",
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
)


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A transformers decoder taken apart for the lens. Its weights and modules stay as they were."""

    name: str
    hf: Any
    """The transformers model."""
    tokenizer: Tokenizer
    parts: Parts
    output_head: OutputHead
    checkpoint: Checkpoint | None
    """None for a model that was handed over in memory. Of random weights, what they were drawn for."""
    residency: Residency
    device: torch.device
    dtype: torch.dtype
    """Of the blocks, or of the head if that is coarser."""
    parameters: int

    @property
    def n_layers(self) -> int:
        return len(self.parts.blocks)

    @cached_property
    def anatomy(self) -> Anatomy:
        """What can be read inside each block, and where."""
        return Anatomy(self.hf, self.parts.blocks)

    @cached_property
    def info(self) -> ModelInfo:
        """What this is and how it runs here. The first call may read the weight files for their sum."""
        config, checkpoint = text_config(self.hf.config), self.checkpoint
        source = checkpoint.source if checkpoint else None
        heads = int(_setting(config, "num_attention_heads") or 0)
        return ModelInfo(
            name=self.name,
            source="memory" if source is None else "random" if source.random else source.kind,
            location=source.location if source else self.name,
            revision=checkpoint.revision if checkpoint else None,
            weights_sum=self._weights_sum(),
            architecture=type(self.hf).__name__,
            n_layers=self.n_layers,
            d_model=self.output_head.weight.shape[1],
            n_heads=heads,
            n_kv_heads=int(_setting(config, "num_key_value_heads") or heads),
            vocab_size=self.output_head.vocab_size,
            context_length=self.context_length,
            parameters=self.parameters,
            dtype=dtype_name(self.dtype),
            device=self.device.type,
        )

    def identified(self) -> ModelInfo:
        """Return `info` with the weights' sum, computed if need be, and anew for a model in memory.

        There, a change to a few weights may have been seen by nobody.
        """
        if self.checkpoint is None:
            self.__dict__.pop("info", None)
        if self.info.weights_sum is None and self.checkpoint:
            self.__dict__["info"] = dataclasses.replace(self.info, weights_sum=self.checkpoint.weights_sum)
        return self.info

    def _weights_sum(self) -> str | None:
        if self.checkpoint is None or self.checkpoint.source.random:
            return _sum_in_memory(self.hf)
        resident = isinstance(self.residency, Resident)
        return self.checkpoint.weights_sum if resident else self.checkpoint.known_weights_sum

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Keep the model in evaluation mode inside the block, for dropout would make every number random.

        A model in memory comes back in the mode that its owner had it in.
        """
        training = [module for module in self.hf.modules() if module.training]
        for module in training:
            module.training = False
        try:
            yield
        finally:
            for module in training:
                module.training = True

    @property
    def context_length(self) -> int:
        config = text_config(self.hf.config)
        return int(getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", 0))

    def rope_of(self, length: int) -> int:
        """Return which of its sets of rotary frequencies the model reads a text of so many tokens with."""
        return bisect_left(self._lengths_of_other_rope, length)

    @cached_property
    def _lengths_of_other_rope(self) -> tuple[int, ...]:
        return lengths_of_other_rope(text_config(self.hf.config))

    @cached_property
    def bridge(self) -> Any:
        """TransformerLens's bridge over the same weights, made when first asked for."""
        if not isinstance(self.residency, Resident):
            raise ModelError(
                f"TransformerLens's bridge needs all of {self.name} in memory, and it is streamed from disk. Give more "
                "--memory, or use a smaller model."
            )
        # Not our own short names: TransformerLens takes some of them for names of its own.
        name = str(self.checkpoint.folder) if self.checkpoint else self.name
        return make_bridge(self.hf, self.tokenizer.hf, name)


def _setting(config: Any, name: str) -> Any:
    """Return a setting; of one that differs between blocks, which `getattr` refuses, the value that most have."""
    return config.to_dict().get(config.attribute_map.get(name, name))


def load_model(spec: ModelSpec, progress: Progress | None = None) -> LoadedModel:
    """Return a model that is ready to be read.

    Args:
        spec: which, and how.
        progress: called with (what, done, total) during downloads and preparation.

    Raises:
        ModelError: one of its subclasses says what is wrong and what to do.
    """
    name, how = str(spec.name), (spec.device, spec.dtype, spec.memory)
    checkpoint = locate(resolve(spec.name, spec.revision), progress, trust_remote_code=spec.trust_remote_code)
    facts = checkpoint.facts
    _refuse_what_is_no_decoder(facts.config, name, trust_remote_code=spec.trust_remote_code)
    if checkpoint.source.random:
        return _draw(name, checkpoint, *how)
    placement = place(facts.parameters, facts.dtype, *how)
    if placement.budget is not None:
        _refuse_packed(checkpoint, name)
    with quiet_transformers():
        hf_tokenizer = _read_tokenizer(checkpoint)
        give_back_memory()
        if placement.budget is not None:
            return _stream(name, checkpoint, placement, hf_tokenizer)
        if checkpoint.gguf:
            hf_model = _read_gguf(checkpoint, placement, progress)
        elif checkpoint.facts.doubled or (checkpoint.folder / ADAPTER).is_file():
            hf_model = _read_by_name(checkpoint, placement, progress)
        else:
            hf_model = _read_weights(checkpoint, placement)
        expect_finite(hf_model, name)
        return _take_apart(name, hf_model, hf_tokenizer, checkpoint)


def model_in_memory(
    hf_model: Any,
    hf_tokenizer: Any,
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    memory: str | int = "auto",
) -> LoadedModel:
    """Return a transformers model that is in memory already, where and as it is.

    Raises:
        ModelError: it is no such model, its tokenizer is missing, or it was asked for otherwise than it is.
    """
    if hf_tokenizer is None or not hasattr(hf_model, "get_output_embeddings"):
        raise ModelError(
            f"Expected a name, a path, or a transformers model together with tokenizer=; got "
            f"{type(hf_model).__name__}{' without a tokenizer' if hf_tokenizer is None else ''}."
        )
    if not hasattr(hf_tokenizer, "convert_ids_to_tokens"):
        raise ModelError(
            f"Expected a transformers tokenizer as tokenizer=; got {hf_tokenizer!r}. Pass the object that "
            "AutoTokenizer.from_pretrained returns."
        )
    asked = {"revision": revision, "device": device, "dtype": dtype, "memory": memory}
    found = {"revision": None, "memory": None, "device": hf_model.device.type, "dtype": dtype_name(hf_model.dtype)}
    if unmet := [f"{key}={wish!r}" for key, wish in asked.items() if wish not in ("auto", found[key])]:
        raise ModelError(
            f"A model in memory is read where and as it is ({found['dtype']} on {found['device']}), so "
            f"{', '.join(unmet)} would change nothing. Leave it out, and use the model's own .to(…) beforehand."
        )
    # The code of an architecture that transformers doesn't know has run already, or there would be no model.
    _refuse_what_is_no_decoder(hf_model.config.to_dict(), type(hf_model).__name__, in_memory=True)
    name = getattr(hf_model.config, "_name_or_path", "") or type(hf_model).__name__
    expect_finite(hf_model, name)
    return _take_apart(name, hf_model, hf_tokenizer, None)


def take_apart_again(model: LoadedModel, *, same_weights: bool) -> LoadedModel:
    """Return a model in memory as it is now that it was changed; with other weights, it is no checkpoint's any more."""
    return _take_apart(model.name, model.hf, model.tokenizer.hf, model.checkpoint if same_weights else None)


def _take_apart(name: str, hf_model: Any, hf_tokenizer: Any, checkpoint: Checkpoint | None) -> LoadedModel:
    _refuse_offloaded(hf_model)
    parts = find_parts(hf_model)
    unembedding: Any = parts.unembedding
    return LoadedModel(
        name=name,
        hf=hf_model,
        tokenizer=_tokenizer_for(hf_model, hf_tokenizer),
        parts=parts,
        output_head=make_output_head(hf_model.config, parts),
        checkpoint=checkpoint,
        residency=Resident(parts.blocks),
        device=unembedding.weight.device,
        dtype=_coarsest(unembedding.weight.dtype, _computed_in(parts.blocks)),
        parameters=_count(hf_model),
    )


def _coarsest(*dtypes: torch.dtype | None) -> torch.dtype:
    """Return the precision that rounding depends on: head and blocks may have different ones."""
    return max((dtype for dtype in dtypes if dtype is not None), key=lambda dtype: torch.finfo(dtype).eps)


def _computed_in(blocks: Any) -> torch.dtype | None:
    """Return the precision that most weights of the blocks have; None where they are packed."""
    counted = Counter[torch.dtype]()
    for parameter in blocks.parameters():
        if parameter.is_floating_point() and parameter.itemsize > 1:
            counted[parameter.dtype] += parameter.numel()
    return max(counted, key=lambda dtype: counted[dtype]) if counted else None


def _refuse_offloaded(hf_model: Any) -> None:
    if offloaded := [n for n, parameter in hf_model.named_parameters() if parameter.is_meta]:
        raise ModelError(
            f"{len(offloaded)} weights of {type(hf_model).__name__} are not in memory ({harmless(offloaded[0])}, …): "
            "accelerate keeps them elsewhere between calls (device_map, cpu_offload, disk_offload), where the lens "
            "cannot read them. Load the model without that, or give lw.load its folder with memory=…: layerwise "
            "streams it from disk itself."
        )


def _stream(name: str, checkpoint: Checkpoint, placement: Placement, hf_tokenizer: Any) -> LoadedModel:
    """Return a model that reads its blocks from disk whenever it runs."""
    device, dtype = placement.device, placement.dtype
    hf_model, weights = _without_weights(checkpoint, dtype)
    parameters, tokenizer, parts = _count(hf_model), _tokenizer_for(hf_model, hf_tokenizer), find_parts(hf_model)
    residency, unembedding = stream(hf_model, parts, weights, dtype, device, placement.budget or 0)
    return LoadedModel(
        name=name,
        hf=hf_model,
        tokenizer=tokenizer,
        parts=parts,
        output_head=make_output_head(hf_model.config, parts, unembedding),
        checkpoint=checkpoint,
        residency=residency,
        device=device,
        dtype=dtype,
        parameters=parameters,
    )


def _draw(name: str, checkpoint: Checkpoint, device: str, dtype: str, memory: str | int) -> LoadedModel:
    """Return a checkpoint's architecture with random weights, run as the checkpoint itself would be.

    They are drawn in float32 on the CPU, so device and precision change no more than the rounding.
    """
    with quiet_transformers():
        hf_tokenizer = _read_tokenizer(checkpoint)
        # Counted in the model: packed weights are fewer in the files.
        parameters = _count(_model_of(checkpoint, empty_model, torch.float32))
        give_back_memory()
        placement = place(parameters, checkpoint.facts.dtype, device, dtype, memory)
        drawn_here = place_whole(parameters, "float32", "cpu", "float32", bytes_of(memory))
        if placement.budget is not None or drawn_here is None:
            kept = readable_size(parameters * placement.dtype.itemsize)
            moved = "" if placement.device.type == "cpu" else f", then {kept} on {placement.device.type}"
            raise DoesNotFitError(
                f"{name} does not fit: random weights are in no file that they could be streamed from, so all "
                f"{parameters:,} have to be in memory, {readable_size(parameters * 4)} on the CPU, where they are "
                f"drawn in float32{moved}, beside the program and its activations. {readable_size(free_memory('cpu'))} "
                f"of the CPU's memory are free{'' if memory == 'auto' else f', and --memory allows {memory} in all'}. "
                "Make room, or use a smaller model."
            )
        hf_model = _model_of(checkpoint, draw_model, torch.float32)
        round_and_move(hf_model, placement.dtype, placement.device)
        expect_finite(hf_model, name)
        return _take_apart(name, hf_model, hf_tokenizer, checkpoint)


def _refuse_packed(checkpoint: Checkpoint, name: str) -> None:
    """Stop at weights that only another package can unpack as a whole: read as they are, they mean something else."""
    packed = checkpoint.facts.config.get("quantization_config")
    if isinstance(packed, dict):
        raise UnsupportedModelError(
            f"{name} is quantised with {harmless(str(packed.get('quant_method')))[:80]}, and only that package's own "
            "modules can read its packed weights, so it cannot be streamed. Give it enough memory to be loaded whole, "
            "or use a GGUF file or an unquantised checkpoint of the model, which can."
        )


def _read_gguf(checkpoint: Checkpoint, placement: Placement, progress: Progress | None) -> Any:
    hf_model, weights = _without_weights(checkpoint, placement.dtype)
    fill_whole(hf_model, weights, placement.dtype, placement.device, progress)
    return hf_model


def _read_by_name(checkpoint: Checkpoint, placement: Placement, progress: Progress | None) -> Any:
    """Return a model whose files transformers by itself would read otherwise.

    Of a tensor in several shards it takes the last file's, whatever the index says; where an adapter's settings
    were left behind, it looks for the model that they name.
    """
    _refuse_packed(checkpoint, str(checkpoint.folder))
    hf_model, weights = _without_weights(checkpoint, placement.dtype)
    fill_whole(hf_model, weights, placement.dtype, placement.device, progress)
    return hf_model


def _without_weights(checkpoint: Checkpoint, dtype: torch.dtype) -> tuple[Any, Weights]:
    """Return a checkpoint's model without memory for its weights, and what reads them."""
    hf_model = _model_of(checkpoint, empty_model, dtype)
    if checkpoint.gguf:
        return hf_model, weights_of(checkpoint.gguf, hf_model)
    weights = _expect_all_used(checkpoint, hf_model)
    expect_buffers(hf_model, {weights.parameter_of(name) for name in weights.tensors})
    return hf_model, weights


def _model_of(checkpoint: Checkpoint, make: Callable[..., Any], dtype: torch.dtype) -> Any:
    """Return what `make` makes of a checkpoint's configuration."""
    config = _config_of(checkpoint)
    with _loading_errors(_settings_file(checkpoint), checkpoint.facts.config):
        return make(config, dtype, trust_remote_code=_runs_own_code(checkpoint))


def _config_of(checkpoint: Checkpoint) -> Any:
    """Return a checkpoint's configuration, with a number of blocks that its weights can be enough for."""
    from transformers import AutoConfig

    stored = len(checkpoint.facts.tensors)
    with _loading_errors(_settings_file(checkpoint), checkpoint.facts.config):
        config = AutoConfig.from_pretrained(
            checkpoint.folder, local_files_only=True, trust_remote_code=_runs_own_code(checkpoint)
        )
        depth = text_config(config).num_hidden_layers
        if not 1 <= depth <= stored:
            raise CorruptFileError(
                f"{harmless(str(_settings_file(checkpoint)))} asks for {depth:,} blocks; expected 1 to {stored:,}, for "
                "the weight files hold no more tensors than that. It belongs to another model, or was edited. "
                "Download it again."
            )
    return config


def _settings_file(checkpoint: Checkpoint) -> Path:
    """Return where a checkpoint's configuration comes from."""
    return checkpoint.gguf.files[0] if checkpoint.gguf else checkpoint.folder / "config.json"


def _expect_all_used(checkpoint: Checkpoint, hf_model: Any, unexpected: Iterable[str] = ()) -> SafetensorsWeights:
    """Stop at stored weights that the model leaves out, or that are no plain numbers; name those beside it.

    Args:
        checkpoint: a checkpoint in the hub's layout.
        hf_model: its model, with or without its weights.
        unexpected: what transformers left out, where another package's way to unpack them was in it.
    """
    weights = SafetensorsWeights(checkpoint.facts.tensors, hf_model)
    unused = weights.unused
    packed = bool(checkpoint.facts.config.get("quantization_config"))
    if packed:
        unused = [Unused(name, name, ()) for name in unexpected]
    elif head := expect_one_value(hf_model, weights.tensors, weights.files, weights.by_themselves):
        _warn(
            f"{harmless(str(_settings_file(checkpoint)))} says that the head of {type(hf_model).__name__} is its "
            f"embedding (tie_word_embeddings), and the files hold another one, {harmless(head)}. Predictions are read "
            "with the stored one, as transformers does. Set tie_word_embeddings to false if that is right; if not, "
            "take the tensor out of the files."
        )
    ahead = _expect_all_blocks(checkpoint, hf_model, [each.parameter for each in unused])
    settings = harmless(str(_settings_file(checkpoint)))
    if told := expect_all_used(hf_model, find_parts(hf_model), unused, settings, ahead):
        _warn(
            f"{len(told)} weights in the files of {harmless(str(checkpoint.folder))} are no part of "
            f"{type(hf_model).__name__} and were left out: {', '.join(map(harmless, told[:3]))}"
            f"{', …' if len(told) > 3 else ''}."
        )
    if not packed:
        weights.expect_plain_numbers()
    return weights


def _warn(message: str) -> None:
    warnings.warn(message, CheckpointWarning, stacklevel=2)


def _expect_all_blocks(checkpoint: Checkpoint, hf_model: Any, names: Iterable[str]) -> Collection[str]:
    """Return the weights of blocks that predict further tokens ahead; stop at others after the last block.

    With blocks that the configuration leaves out, the model would be cut short without a word.
    """
    beyond = weights_behind_last_block(hf_model, names)
    behind = sorted(name for name, index in beyond.items() if not expects_ahead(hf_model, name, index))
    if behind:
        depth = text_config(hf_model.config).num_hidden_layers
        raise CorruptFileError(
            f"{harmless(str(_settings_file(checkpoint)))} asks for {depth} blocks, and the weight files hold more "
            f"({harmless(behind[0])}{', …' if len(behind) > 1 else ''}): the predictions would be those of a model "
            "cut short. It belongs to another model, or was edited. Download it again."
        )
    return beyond


def _tokenizer_for(hf_model: Any, hf_tokenizer: Any) -> Tokenizer:
    return Tokenizer(hf_tokenizer, getattr(hf_model.get_input_embeddings(), "num_embeddings", None))


def _count(hf_model: Any) -> int:
    return sum(parameter.numel() for parameter in hf_model.parameters())


def _refuse_what_is_no_decoder(
    config: dict[str, Any], name: str, *, trust_remote_code: bool = False, in_memory: bool = False
) -> None:
    """Stop at architectures for which "the prediction after each layer" has no meaning."""
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    model_type = str(config.get("model_type"))
    heads = config.get("architectures")
    own_code = config.get("auto_map") if model_type not in CONFIG_MAPPING else None
    reason = None
    if own_code and trust_remote_code:
        if not isinstance(own_code, dict) or "AutoModelForCausalLM" not in own_code:
            reason = "the code that comes with it names no causal language model (AutoModelForCausalLM in auto_map)"
    elif config.get("is_encoder_decoder"):
        reason = "it is an encoder-decoder: its decoder's prediction also depends on another residual stream"
    elif model_type not in CONFIG_MAPPING and in_memory:
        pass
    elif model_type not in CONFIG_MAPPING:
        reason = f"transformers does not know the architecture {model_type!r}" + (
            "; its own code would have to run, which may do anything on this machine. Read it, and if you trust it, "
            "allow it with --trust-remote-code (in Python: trust_remote_code=True)"
            if own_code
            else ""
        )
    elif model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        reason = f"transformers has no causal language model for {model_type!r}"
    elif isinstance(heads, list) and heads and all(str(head).endswith(_NOT_A_DECODER) for head in heads):
        reason = f"it was saved as {heads[0]}, which does not predict the next token"
    # BERT and its kin appear among the causal models too, because is_decoder can make them one.
    elif model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not config.get("is_decoder"):
        reason = "it is encoder-only: each of its positions sees the tokens after it, and none predicts the next"
    if reason:
        raise UnsupportedModelError(
            f"{name} cannot be read layer by layer: {reason}. "
            "layerwise reads decoders (GPT, Llama, Mistral, Gemma, Qwen and their kin)."
        )


def _read_weights(checkpoint: Checkpoint, placement: Placement) -> Any:
    from transformers import AutoModelForCausalLM

    config = _config_of(checkpoint)
    with _loading_errors(checkpoint.folder, checkpoint.facts.config):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            checkpoint.folder,
            config=config,
            dtype=placement.dtype,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=_runs_own_code(checkpoint),
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            device_map=None if placement.device.type == "cpu" else {"": placement.device},
        )
    hf_model, report = loaded
    _expect_all_used(checkpoint, hf_model, report["unexpected_keys"])
    for name, stored, expected in sorted(report["mismatched_keys"]):
        raise wrong_shape(name, stored, expected)
    missing = sorted(report["missing_keys"])
    if missing:
        raise CorruptFileError(
            f"{len(missing)} weights that {type(hf_model).__name__} needs are in none of the files of "
            f"{checkpoint.folder} ({', '.join(missing[:3])}{', …' if len(missing) > 3 else ''}); they would be "
            f"random numbers. Looked in {', '.join(f.name for f in checkpoint.facts.weight_files)}."
        )
    return hf_model.requires_grad_(False)


def _runs_own_code(checkpoint: Checkpoint) -> bool:
    """Return whether the model's own code is needed and trusted; what transformers knows, it knows better."""
    from transformers import CONFIG_MAPPING

    return checkpoint.trust_remote_code and checkpoint.facts.config["model_type"] not in CONFIG_MAPPING


def _read_tokenizer(checkpoint: Checkpoint) -> Any:
    from transformers import AutoTokenizer

    config = None if checkpoint.gguf else _config_of(checkpoint)
    with _loading_errors(checkpoint.folder):
        if checkpoint.gguf:
            return read_tokenizer(checkpoint.folder)
        # Left to itself, transformers asks at the terminal whether a tokenizer's own code may run.
        return AutoTokenizer.from_pretrained(
            checkpoint.folder, config=config, local_files_only=True, trust_remote_code=checkpoint.trust_remote_code
        )


@contextlib.contextmanager
def _loading_errors(path: Path, settings: Mapping[str, Any] = MappingProxyType({})) -> Iterator[None]:
    """Give transformers' many ways to fail over files one name. What it raises over a damaged one may be anything."""
    try:
        yield
    except (LayerwiseError, MemoryError):
        raise
    except ImportError as error:  # packages that unpack quantised weights
        raise MissingDependencyError(
            f"transformers needs another package to load {path}: {error}. Install it, or use a GGUF file or an "
            "unquantised checkpoint of the model."
        ) from error
    except Exception as error:
        raise CorruptFileError(
            f"transformers could not load {harmless(str(path))}: {what_failed(error, settings)}"
        ) from error


def _sum_in_memory(hf_model: Any) -> str:
    """Return a SHA-256 over every parameter's name, dtype, shape and bytes."""
    digest = hashlib.sha256()
    for name, parameter in sorted(hf_model.named_parameters()):
        digest.update(f"{name} {parameter.dtype} {tuple(parameter.shape)}\n".encode())
        digest.update(parameter.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
