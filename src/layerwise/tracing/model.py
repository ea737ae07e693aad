"""The public model: what `layerwise.load` returns."""

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from layerwise.capture.forward_pass import ForwardPass
from layerwise.capture.site_values import capture_sites, resolve_sites
from layerwise.errors import EditError, LensWarning, PromptError, PromptWarning
from layerwise.lens_spec import LOGIT
from layerwise.lenses.opening import open_lens
from layerwise.models.loading.loaded import LoadedModel
from layerwise.models.loading.snapshot import Snapshot
from layerwise.models.loading.taking_apart import take_apart_again
from layerwise.models.residency.residency import Resident
from layerwise.readout.lenses import Lens
from layerwise.sites import Site
from layerwise.tracing.checks import Checker, differs_from_float32
from layerwise.tracing.early_reader import OnLayer
from layerwise.tracing.output_transform import measured
from layerwise.tracing.prepared_request import make_ready, prepare
from layerwise.tracing.request import Answered, Edits, Prompt, Request, as_answers, as_edits, as_positions, as_prompt
from layerwise.tracing.trace import Trace
from layerwise.tracing.tracer import trace_requests
from layerwise.tracing.without_gradients import without_gradients
from layerwise.types import ModelInfo, Progress

Array = np.ndarray | torch.Tensor
Answers = Answered | Array | Sequence[Answered | Array]
"""One answer or several, each a text or token ids."""


class Model:
    """A language model that can be read layer by layer."""

    def __init__(self, loaded: LoadedModel):
        self._loaded = loaded
        self._checker = Checker()
        self._looks = Snapshot(loaded.hf) if isinstance(loaded.residency, Resident) else None

    @property
    def info(self) -> ModelInfo:
        """What the model is and how it runs here."""
        return self._now().info

    def identified(self) -> ModelInfo:
        """Return `info` with the weights' sum, which may have to be computed: that reads all files once."""
        return self._now().identified()

    def _now(self) -> LoadedModel:
        """Return the model as it is now: one in memory can be changed between two traces, and is taken apart anew."""
        if self._looks:
            looks = Snapshot(self._loaded.hf, self._looks)
            if not self._looks.holds(looks):
                with without_gradients(), self._loaded.evaluating():
                    same = self._looks.holds_in_weights(looks)
                    self._loaded = measured(take_apart_again(self._loaded, same_weights=same))
                self._checker, self._looks = Checker(), looks
        return self._loaded

    @property
    def n_layers(self) -> int:
        """Number of blocks; layers run from 0 to this."""
        return self._loaded.n_layers

    @property
    def bytes_read(self) -> int:
        """Bytes of weights read from disk since the model was loaded; 0 for one that is all in memory."""
        return self._loaded.residency.bytes_read

    @property
    def hf(self) -> Any:
        """Transformers' own module. The blocks of a streamed model have weights only while they run."""
        return self._now().hf

    @property
    def tokenizer(self) -> Any:
        """Transformers' own tokenizer."""
        return self._loaded.tokenizer.hf

    @property
    def bridge(self) -> Any:
        """TransformerLens's `TransformerBridge` over the same weights, for everything else."""
        return self._loaded.bridge

    def trace(
        self,
        prompt: Prompt | Array,
        answer: Answers = (),
        *,
        alternatives: Answers = (),
        track: str | Sequence[str] = (),
        lens: str | Lens = LOGIT.name,
        positions: str | int | Sequence[int] = "last",
        top_k: int = 5,
        chat: bool = False,
        system: str | None = None,
        chat_args: Mapping[str, Any] | None = None,
        generate: int = 0,
        temperatures: Sequence[float] = (),
        edits: Edits = (),
        progress: Progress | None = None,
        on_layer: OnLayer | None = None,
    ) -> Trace:
        """Return the model's prediction after `prompt` after every layer.

        Args:
            prompt: any text; BOS is added if the model's tokenizer does so by itself. Or token ids, to which
                nothing is added. Or a conversation: messages such as ``{"role": "user", "content": "Hello"}``, put
                into the model's chat template; where the last one is the assistant's, it is the reply's beginning.
            answer: an answer to follow, usually with a leading space, or several acceptable ones. One that is a list of
                token ids is taken as it is; after ids that the tokenizer would not write so, it has to be.
            alternatives: wrong answers of the same type; they settle which token decides.
            track: texts of single tokens to follow at every layer and position.
            lens: ``logit`` (final norm and output head) or ``raw`` (output head alone); a fitted one: ``ridge``,
                ``tuned``, ``jacobian`` or ``r`` for the model's own, ``"jacobian:PATH"`` for one in a folder or file;
                or a `Lens`, such as `load_lens` returns.
            positions: ``last``, ``all``, indices and slices as in ``"0,3:5,-1"``, or indices as numbers.
            top_k: how many of the likeliest tokens to keep per layer and position.
            chat: put the prompt into the model's chat template.
            system: system message of that conversation.
            chat_args: arguments of the chat template, as in ``{"enable_thinking": False}``.
            generate: let the model go on for so many tokens, and trace each.
            temperatures: give the output at these temperatures too.
            edits: what to change on the way up, as ``"zero blocks.3.hook_mlp_out@-1"``, or `EditSpec` records such as
                ``Patch("layer 12", "last", source="…")``. One alone need not be in a list.
            progress: called with (what, done, total).
            on_layer: called with a `LayerRead` as soon as a layer is computed, before the whole is there.

        Raises:
            PromptError: prompt, answer, token or position cannot be used with this model.
            EditError: an edit cannot be made.
            LensError: there is no such fitted lens, it is damaged, or it is another model's.
            CheckError: the numbers did not pass the checks, so there are none.

        Warns:
            PromptWarning: the trace has `notes`: something that nobody sees is in a text, and is read.
            LensWarning: it has notes on the lens: which weights it was fitted for is not known, or it lacks layers.
        """
        request = Request(
            as_prompt(prompt),
            answers=as_answers(answer),
            alternatives=as_answers(alternatives),
            track=(track,) if isinstance(track, str) else tuple(track),
            positions=as_positions(positions),
            top_k=top_k,
            chat=chat,
            system=system,
            generate=generate,
            temperatures=tuple(float(temperature) for temperature in temperatures),
            leaders=True,
            chat_args=dict(chat_args or {}),
            edits=as_edits(edits),
        )
        [[trace]] = self.trace_all([request], lenses=(lens,), progress=progress, on_layer=on_layer)
        of_lens = open_lens(lens, self._loaded).spec.notes  # kept since it was read through
        for note in trace.notes:
            warnings.warn(note, LensWarning if note in of_lens else PromptWarning, stacklevel=2)
        return trace

    def trace_all(
        self,
        requests: Sequence[Request],
        *,
        lenses: Sequence[str | Lens] = (LOGIT.name,),
        check_length_groups: bool = False,
        progress: Progress | None = None,
        on_layer: OnLayer | None = None,
    ) -> list[list[Trace]]:
        """Return one trace per request and lens, from a single pass through the model.

        With `check_length_groups` the identity check runs on the first of these prompts in each length
        group (1, 2 to 3, 4 to 7 tokens, …), whatever was read before: then the traces depend on nothing
        but these requests. `on_layer` is shown each layer of the first request, through the first lens.
        """
        with self.computing() as model:
            return trace_requests(
                model,
                requests,
                lenses=lenses,
                checker=self._checker.anew() if check_length_groups else self._checker,
                check_length_groups=check_length_groups,
                progress=progress,
                on_layer=on_layer,
            )

    def capture(
        self,
        prompt: Prompt | Array,
        sites: str | Site | Sequence[str | Site],
        *,
        positions: str | int | Sequence[int] = "all",
        chat: bool = False,
        system: str | None = None,
        chat_args: Mapping[str, Any] | None = None,
        edits: Edits = (),
        progress: Progress | None = None,
    ) -> dict[str, np.ndarray]:
        """Return what the model computes inside its blocks on `prompt`, as float32 arrays by the sites' names.

        The values are those that a forward hook on transformers' own module would see. `Anatomy` defines each kind;
        their shapes, with one entry per chosen position:

        - ``resid_pre``, ``resid_mid``, ``resid_post``, ``attn_out``, ``mlp_out``: [position, d_model]
        - ``q``, ``z``: [position, head, d_head]; ``k``, ``v``: the same with the key-value heads
        - ``pattern``: [head, position, key position]; with it among the sites, attention is computed step by step
        - ``mlp_post``: [position, neuron]

        With a head (``blocks.3.attn.hook_z[5]``) that axis is left out.

        Args:
            prompt: as for `trace`.
            sites: names of TransformerLens's hooks such as ``"blocks.3.attn.hook_z"``; `Site` records; or kinds alone,
                such as ``"attn_out"``, for every block that has the kind.
            positions: ``all``, ``last``, indices and slices as in ``"0,3:5,-1"``, or indices as numbers.
            chat: put the prompt into the model's chat template.
            system: system message of that conversation.
            chat_args: arguments of the chat template, as in ``{"enable_thinking": False}``.
            edits: as for `trace`; values are those after the edits.
            progress: called with (what, done, total).

        Raises:
            PromptError: the prompt, a position, or a site's name cannot be used.
            EditError: an edit cannot be made.
            UnsupportedModelError: the architecture has nothing of the kind there; the message says what it has.
            CheckError: the model's numbers did not pass the checks.
        """
        request = Request(
            as_prompt(prompt),
            positions=as_positions(positions),
            chat=chat,
            system=system,
            chat_args=dict(chat_args or {}),
            edits=as_edits(edits),
        )
        [captured] = self.capture_all([request], sites, progress=progress)
        return captured

    def capture_all(
        self, requests: Sequence[Request], sites: str | Site | Sequence[str | Site], *, progress: Progress | None = None
    ) -> list[dict[str, np.ndarray]]:
        """Return what `capture` does of each request's prompt and positions, from a single pass through the model."""
        with self.computing() as model:
            wanted = resolve_sites(model, sites)
            prepared = make_ready(model, requests, progress)
            self.expect_checked([item.ids for item in prepared], progress)
            passes = [ForwardPass(item.ids, item.positions_asked_for, item.edits) for item in prepared]
            return capture_sites(model, passes, wanted, progress) if passes else []

    def expect_checked(self, prompts: Sequence[tuple[int, ...]], progress: Progress | None = None) -> None:
        """Check the model's numbers on prompts of ids, where earlier checks do not cover them. Raises CheckError."""
        while ids := self._checker.due(self._now(), prompts):
            self.trace_all([Request(ids)], progress=progress)

    @contextlib.contextmanager
    def computing(self) -> Iterator[LoadedModel]:
        """Give the model taken apart, in a block in which it computes as it does for traces."""
        model = self._now()
        with without_gradients(), model.evaluating():
            yield model

    def open_lens(self, lens: str | Lens) -> Lens:
        """Return a lens made ready for this model: what `trace` does with its `lens`.

        Raises:
            PromptError: there is no such kind of lens.
            LensError: there is no such lens, it is damaged, or it was fitted for another model.
        """
        return open_lens(lens, self._now())

    def compare_precision(self, request: Request) -> None:
        """Compare half precision, or an accelerator, with float32 on the CPU on this prompt, where that is due.

        Every later trace states the outcome. Without this call, the first prompt that is read is compared.
        """
        if differs_from_float32(self._loaded) and not self._checker.float32_checked:
            self.trace_all([request])

    def refusal(self, request: Request) -> str | None:
        """Return why a request cannot be traced with this model's tokens, or None if it can."""
        try:
            prepare(self._loaded, request)
        except (PromptError, EditError) as error:
            return str(error)
        return None

    def __repr__(self) -> str:
        loaded = self._loaded
        return f"Model({loaded.name!r}, {loaded.n_layers} layers, {loaded.dtype}, {loaded.device})"
