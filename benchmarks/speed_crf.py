"""The CRF next to torchcrf and bert4torch's, and its part of a tagger's step."""

from collections.abc import Callable
from statistics import median
from typing import Any

from benchmarks.speed_measure import Row, compare, in_turns, milliseconds, timed

TAGS = 13
SMALL = {"model_type": "bert", "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4,
         "intermediate_size": 1024}  # fmt: skip
BASE = {"model_type": "bert", "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
        "intermediate_size": 3072}  # fmt: skip


def crf_rows(quick: bool) -> list[Row]:
    """Loss with gradients, and decoding, at two lengths."""
    import torch
    import torchcrf

    from models.crf import CRF

    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows, turns = [], 5 if quick else 9
    for length in (128, 512):
        emissions, tags = torch.randn(32, length, TAGS), torch.randint(TAGS, (32, length))
        mask = torch.arange(length) < torch.linspace(length // 2, length, 32).long()[:, None]
        emissions, tags, mask = (tensor.to(device) for tensor in (emissions, tags, mask))
        own, peer = (kind(TAGS, batch_first=True).to(device) for kind in (CRF, torchcrf.CRF))

        def train(crf: Any, emissions=emissions, tags=tags, mask=mask) -> None:
            crf(emissions.detach().requires_grad_(), tags, mask).backward()

        def decode(crf: Any, emissions=emissions, mask=mask) -> None:
            crf.decode(emissions, mask)

        for name, run in (("loss and gradients", train), ("decode", decode)):
            what = f"CRF {name} (32, {length}, {TAGS})"
            rows.append(compare(what, "torchcrf", lambda run=run, own=own: run(own),
                                lambda run=run, peer=peer: run(peer), turns, 5))  # fmt: skip
            if (other := bert4torch_run(name, emissions, tags, mask)) is not None:
                rows.append(compare(what, "bert4torch", lambda run=run, own=own: run(own), other, turns, 5))
    return rows


def bert4torch_run(name: str, emissions: Any, tags: Any, mask: Any) -> Callable[[], Any] | None:
    """The same by bert4torch's CRF; None where it is not installed."""
    try:
        from bert4torch.layers import CRF
    except Exception:  # its imports fail in ways of their own under newer libraries
        return None
    crf = CRF(TAGS).to(emissions.device)
    if name == "decode":
        return lambda: crf.decode(emissions, mask.long())
    return lambda: crf(emissions.detach().requires_grad_(), mask.long(), tags).sum().backward()


def share_rows(quick: bool) -> list[Row]:
    """The CRF's part of a training step, in the precision that training takes here."""
    import torch

    from common.training.arguments import precision
    from common.training.fast_dropout import use_fast_dropout
    from models.crf import CRF
    from models.encoders import encoder_from_config

    device = "cuda" if torch.cuda.is_available() else "cpu"
    half = precision("auto")
    dtype = torch.bfloat16 if half["bf16"] else torch.float16
    rows = []
    for name, sizes, size, most in (("4 layers of 256", SMALL, 8 if quick else 32, 10), ("BERT-base", BASE, 8, 3)):
        if quick and sizes is BASE:
            size = 2
        encoder = torch.nn.Module()
        encoder.encoder = encoder_from_config({**sizes, "vocab_size": 8000}).to(device).train()
        if device == "cpu":
            use_fast_dropout(encoder)
        crf = CRF(TAGS, batch_first=True).to(device)
        ids = torch.randint(8000, (size, 128), device=device)
        emissions = torch.randn(size, 128, TAGS, device=device)
        tags = torch.randint(TAGS, (size, 128), device=device)

        def step(ids=ids, encoder=encoder) -> None:
            with torch.autocast(device, dtype=dtype, enabled=any(half.values())):
                loss = encoder.encoder(ids).last_hidden_state.square().mean()
            loss.backward()

        def likelihood(emissions=emissions, tags=tags, crf=crf) -> None:
            crf(emissions.detach().requires_grad_(), tags).backward()

        pairs = in_turns(lambda: timed(likelihood), lambda: timed(step), 5)
        shares = [100 * own / (own + other) for own, other in pairs]
        own, other = (milliseconds(median(side)) for side in zip(*pairs, strict=True))
        rows.append(Row(f"CRF's part of a step ({size}, 128), {name}", "the encoder's step", own, other,
                        f"{median(shares):.2f}% ({min(shares):.2f} to {max(shares):.2f})", f"≤ {most}%",
                        median(shares) <= most, "bf16" if half["bf16"] else ""))  # fmt: skip
        encoder.encoder = None
    return rows
