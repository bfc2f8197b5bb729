"""A trained head made ready to serve: linear layers in eight bits, or a graph for ONNX Runtime."""

import copy
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from models.heads import Head
from models.multi_task import MultiTask, OneTask

HeadOrTask = TypeVar("HeadOrTask", Head, OneTask)

FIXED = {("entity_spans", 2)}  # an axis that is as long in every batch: first word, last word + 1


def quantized(head: HeadOrTask) -> HeadOrTask:
    """A copy of a head whose linear layers multiply in int8, for prediction on a CPU.

    Weights are rounded once, with a scale for each output; inputs at each call, with a scale for the batch. What is not
    a linear layer (embeddings, layer norms, LSTMs, a CRF) stays as it is. Returns the copy, in evaluation mode; it
    cannot be trained or saved: save the head, and quantize it again where it is loaded.
    Raises ValueError for a head that is not on the CPU.
    """
    if head.device.type != "cpu":
        raise ValueError(f"int8 dynamic quantization is for a CPU, and the head is on {head.device}: move it first")
    from torch.ao import quantization

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings = {nn.Linear: quantization.per_channel_dynamic_qconfig}
        return quantization.quantize_dynamic(copy.deepcopy(head).eval(), settings, dtype=torch.qint8)


def export_onnx(head: Head | OneTask, folder: str | Path, batch: dict[str, Tensor]) -> Path:
    """Writes a head as `folder`/model.onnx for ONNX Runtime, of any batch size and length.

    folder: made where there is none. batch: the tensors of `forward` without labels, of at least two rows and two
    tokens, as an example of names and types; the graph's inputs have these names, its one output is `logits`. A CRF is
    no part of the graph: decode its emissions as before. Of several tasks a graph has one, as `OneTask(model, name)`.
    Returns the file's path.
    Raises ImportError without onnx and onnxscript, which requirements.txt leaves out, and ValueError for a head with an
    LSTM, for a model of several tasks as a whole and for a batch that cannot stand for others.
    """
    if isinstance(head, MultiTask):
        raise ValueError("a graph is of one task: export OneTask(model, name) of models/multi_task.py for each of "
                         f"{', '.join(head.task_names)}")  # fmt: skip
    if any(isinstance(module, nn.RNNBase) for module in head.modules()):
        # The exported graph of an LSTM is bound to the example's rows (torch 2.13).
        raise ValueError("a head with an LSTM cannot be exported for other batch sizes: take quantized(head) for a CPU")
    for name in ("onnx", "onnxscript"):
        if find_spec(name) is None:
            raise ImportError(f"export_onnx needs {name}: pip install onnx onnxscript onnxruntime")
    if short := [name for name, value in batch.items() if min(value.shape) < 2]:
        raise ValueError(f"the example batch must have at least two rows and two tokens, not in {', '.join(short)}")
    path = Path(folder) / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    names, rows = list(batch), torch.export.Dim("rows", min=1)
    # Both sides of a pair, and the words of a text, have lengths of their own.
    shapes = tuple(
        {
            axis: rows if axis == 0 else None if (name, axis) in FIXED else torch.export.Dim.DYNAMIC
            for axis in range(value.dim())
        }
        for name, value in batch.items()
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Logits(head, names).eval(), tuple(batch.values()), path, input_names=names, output_names=["logits"],
            dynamic_shapes={"tensors": shapes}, dynamo=True, external_data=False, verbose=False,
        )  # fmt: skip
    return path


class _Logits(nn.Module):
    """A head that takes tensors in the order of `names` and gives nothing but its logits."""

    def __init__(self, head: Head | OneTask, names: list[str]) -> None:
        super().__init__()
        self.head, self.names = head, names

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.head(**dict(zip(self.names, tensors, strict=True))).logits
