"""A fine-tuned cell network, its evaluation on held-out fields, its report and its files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_tam.evaluate.matching import THRESHOLDS
from napari_tam.files import make_folder, replacing, write_json, write_text

if TYPE_CHECKING:
    from pathlib import Path

    from napari_tam.networks.flownet import FlowNet


#: The figures of the report; the first decides.
FIGURES = tuple(f"ap_{threshold:g}" for threshold in THRESHOLDS[:2])


@dataclass(frozen=True)
class FineTuned:
    """A fine-tuned network and what left-out fields say about it.

    Attributes
    ----------
    network
        Trained on all fields; None if it is no better and so was not made.
    card
        Its card, without the hash.
    report
        ``fields`` (one dict per left-out field), ``before`` and ``after`` (means of `FIGURES`; None when
        nothing was left out), ``folds``.
    """

    network: FlowNet | None
    card: dict[str, Any]
    report: dict[str, Any]

    @property
    def adopted(self) -> bool:
        """Whether the network is not worse than the one it started from."""
        return self.network is not None


def report_lines(report: dict[str, Any]) -> list[str]:
    """Return the table of before and after on left-out fields, as text."""
    if not report["fields"]:
        return ["Nothing was left out: nobody knows whether this network is better than the bundled one."]
    width = max(len("mean"), *(len(row["image"]) for row in report["fields"]))
    head = f"{'left out':{max(width, 8)}}  cells  AP@0.5 before  after  AP@0.75 before  after"
    lines = [head]

    def line(name: str, cells: str, before: dict[str, float], after: dict[str, float]) -> str:
        a, b = FIGURES
        return (
            f"{name:{max(width, 8)}}  {cells:>5}  {before[a]:13.3f}  {after[a]:5.3f}  {before[b]:14.3f}  "
            f"{after[b]:5.3f}"
        )

    lines += [line(row["image"], str(row["cells"]), row["before"], row["after"]) for row in report["fields"]]
    return [*lines, line("mean", "", report["before"], report["after"])]


def verdict(model: FineTuned) -> str:
    """Return the outcome of the training in one sentence."""
    report = model.report
    if not report["fields"]:
        return "written without having been judged"
    a = FIGURES[0]
    before, after = report["before"][a], report["after"][a]
    if model.adopted:
        return f"mean AP@0.5 of left-out fields {before:.3f} before, {after:.3f} after"
    return (
        f"not written: on left-out fields the fine-tuned network is worse (mean AP@0.5 {after:.3f}) than the "
        f"one it started from ({before:.3f}); correct more fields, or keep the bundled network"
    )


def save(model: FineTuned, out: Path) -> None:
    """Write the model folder: ``cells.safetensors`` (half precision), ``cells.json`` and ``report.txt``.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    import hashlib

    from safetensors.torch import save as serialise

    assert model.network is not None, "a worse network is not written"
    make_folder(out)
    state = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in model.network.state_dict().items()
    }
    data = serialise(state)
    kind = model.card["kind"]
    (out / f"{kind}.json").unlink(missing_ok=True)  # never an old card beside new weights
    with replacing(out / f"{kind}.safetensors") as part:
        part.write_bytes(data)
    write_json(out / f"{kind}.json", {**model.card, "sha256": hashlib.sha256(data).hexdigest()})
    lines = [model.card["description"], f"terms: {model.card['terms']}", "", *report_lines(model.report)]
    write_text(out / "report.txt", "\n".join([*lines, verdict(model)]) + "\n")
