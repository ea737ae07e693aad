"""What was measured of large models, as tables and on the page."""

from benchmarks.large.measures import Large
from benchmarks.page import measured_on, put
from benchmarks.tables import Table


def tables(found: Large) -> list[Table]:
    """Return a table for the large checkpoint and one for the small models, as far as they were measured."""
    return [_large(found), *([_small(found)] if found.gguf else [])]


def refresh(found: Large) -> None:
    """Put these results where the page's last ones stood."""
    put(
        "bench-large",
        "\n" + "\n\n".join([measured_on(found.machine), *(t.as_markdown() for t in tables(found))]) + "\n",
    )


def _large(found: Large) -> Table:
    rows = []
    if limits := found.limits:
        rows += [
            ["reading all files once", f"{limits.read:.1f} s", "", ""],
            [f"the blocks alone in {limits.dtype}, weights in memory", f"{limits.compute:.1f} s", "", ""],
        ]
    for each in (found.few, found.many):
        if each:
            read = f"{each.gigabytes_read:.1f} of {each.weights_gigabytes:.1f} GB"
            rows.append(
                [
                    f"layerwise, {each.prompts} prompts of {each.tokens} tokens",
                    f"{each.seconds:.1f} s",
                    f"{each.peak_gigabytes:.2f} GB",
                    read,
                ]
            )
    if offload := found.offload:
        rows.append(
            [
                "transformers + accelerate offload (bfloat16), 8 prompts",
                f"{offload.seconds:.1f} s",
                f"{offload.peak_gigabytes:.2f} GB",
                "",
            ]
        )
    notes = []
    if found.few and found.limits:
        notes.append(
            f"layerwise takes {found.few.seconds / (found.limits.read + found.limits.compute):.2f}× the sum of the two "
            f"limits, after loading in {found.few.load_seconds:.1f} s; its first call took "
            f"{found.few.first_seconds:.1f} s."
        )
    if found.few and found.offload:
        notes.append(
            f"accelerate takes {found.offload.seconds / found.few.seconds:.1f}× as long as layerwise "
            f"(its first call {found.offload.first_seconds:.1f} s)."
        )
    columns = ["", "time", "peak memory", "weights read"]
    return Table(f"Shapes of Qwen3-8B, 16.4 GB in bfloat16, under {found.memory}", columns, rows, notes)


def _small(found: Large) -> Table:
    rows = [
        [
            peak.model,
            f"{peak.megabytes:.0f} MB",
            f"{peak.allowed_megabytes:.0f} MB",
            f"{fit.resident_seconds:.2f} s",
            f"{fit.streamed_seconds:.2f} s",
            f"{fit.streamed_seconds / fit.resident_seconds:.2f}×",
        ]
        for peak, fit in zip(found.gguf, found.fitting, strict=True)
    ]
    columns = ["streamed from GGUF", "added memory", "1.2 × file + block + head", "64 prompts resident", "streamed", ""]
    return Table("Models that would fit", columns, rows)
