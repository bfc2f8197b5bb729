"""Whether several short texts in one row, each attending to itself alone, would pay over batches of like lengths."""

from statistics import median

import numpy as np

from benchmarks.speed_crf import SMALL
from benchmarks.speed_lengths import DATAGRAND, SOHU_SHORT, lengths_like
from benchmarks.speed_measure import in_turns, timed

TOKENS, WIDTH = 2048, 128  # padded tokens of a batch; tokens of a packed row
TEXTS = 300  # of a mix; of fewer, those of like lengths differ more than in a contest
MIXES = {"texts of 4 to 12": None, "DataGrand's lines": DATAGRAND, "Sohu's short pairs": SOHU_SHORT}


def section() -> str:
    """The section of SPEED.md: the time of both for the same texts, forward pass alone and with the backward pass."""
    import torch

    from models.encoders import encoder_from_config

    torch.manual_seed(1)
    sizes = {**SMALL, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "vocab_size": 8000}
    lines = [
        "## Packing\n`python -m benchmarks.speed --packing`: 4 layers of 256, one thread, fp32, median of 5. Packed "
        f"rows hold whole texts up to {WIDTH} tokens (or one longer text), positions from 0 and a block-diagonal mask; "
        f"batches of like lengths hold {TOKENS} padded tokens. Above 1, packing would be the faster one.\n",
        "| texts | padding of like lengths | of packed rows | same outputs to | prediction | training |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    encoder, best = encoder_from_config(sizes), 0.0
    for name, quantiles in MIXES.items():
        random = np.random.default_rng(0)
        lengths = random.integers(4, 13, 5 * TEXTS) if quantiles is None else lengths_like(quantiles, TEXTS, random)
        texts = [torch.from_numpy(random.integers(5, 8000, length)) for length in lengths.clip(max=400)]
        alike, packed = batches_alike(texts), batches_packed(texts)
        same = difference(encoder, alike, packed)
        ratios = []
        for training in (False, True):
            encoder.train(training)
            runs = [lambda batches=batches, t=training: run(encoder, batches, t) for batches in (packed, alike)]
            pairs = in_turns(*(lambda r=r: timed(r) for r in runs), 5)
            ratios.append(median(other / own for own, other in pairs))
        best = max(best, *ratios)
        # A packed row is full up to its last text; a batch of them is as wide as the fullest.
        shares = [1 - sum(map(len, texts)) / sum(batch["input_ids"].numel() for batch in side)
                  for side in (alike, packed)]  # fmt: skip
        lines.append(f"| {name} | {shares[0]:.1%} | {shares[1]:.1%} | {same:.0e} | "
                     f"{ratios[0]:.2f} | {ratios[1]:.2f} |")  # fmt: skip
    return "\n".join(lines) + (
        f"\n\nThe most that packing gains here is a factor of {best:.2f}. Pretraining packs its rows; fine-tuning and "
        "prediction take batches of like lengths, which every head reads as they are."
    )


def batches_alike(texts: list) -> list[dict]:
    """Texts in batches of like lengths, padded. `place`: which text each row is."""
    import torch

    from common.training.batching import prediction_batches

    found = []
    for places in prediction_batches([len(text) for text in texts], TOKENS):
        rows = [texts[place] for place in places]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        mask = torch.arange(ids.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]
        found.append({"input_ids": ids, "attention_mask": mask.long(), "place": places})
    return found


def batches_packed(texts: list) -> list[dict]:
    """Texts side by side in rows, longest first, each into the first row with room. `place`: each token's text."""
    import torch

    rows: list[list[int]] = []
    room: list[int] = []
    for place in np.argsort([-len(text) for text in texts], kind="stable").tolist():
        size = len(texts[place])
        fit = next((row for row, left in enumerate(room) if left >= size), None)
        if fit is None:
            rows.append([])
            room.append(max(WIDTH, size))
            fit = len(rows) - 1
        rows[fit].append(place)
        room[fit] -= size
    found, begin = [], 0
    while begin < len(rows):
        width = sum(len(texts[place]) for place in rows[begin])
        some = rows[begin : begin + max(1, TOKENS // max(WIDTH, width))]
        begin += len(some)
        ids = torch.nn.utils.rnn.pad_sequence([torch.cat([texts[p] for p in row]) for row in some], batch_first=True)
        own = [torch.cat([torch.full((len(texts[p]),), p) for p in row]) for row in some]
        own = torch.nn.utils.rnn.pad_sequence(own, batch_first=True, padding_value=-1)
        places = [torch.cat([torch.arange(len(texts[p])) for p in row]) for row in some]
        places = torch.nn.utils.rnn.pad_sequence(places, batch_first=True)
        mask = (own[:, :, None] == own[:, None, :])[:, None]
        found.append({"input_ids": ids, "attention_mask": mask, "position_ids": places, "place": own})
    return found


def run(encoder, batches: list[dict], training: bool) -> None:
    """A pass over all batches, with gradients or without."""
    import torch

    for batch in batches:
        inputs = {name: value for name, value in batch.items() if name != "place"}
        with torch.set_grad_enabled(training):
            states = encoder(**inputs).last_hidden_state
        if training:
            states.square().mean().backward()
            encoder.zero_grad()


def difference(encoder, alike: list[dict], packed: list[dict]) -> float:
    """The largest difference of any text's states between both."""
    import torch

    encoder.eval()
    known, worst = {}, 0.0
    with torch.no_grad():
        for batch in alike:
            states = encoder(batch["input_ids"], batch["attention_mask"]).last_hidden_state
            for row, place in enumerate(batch["place"].tolist()):
                known[place] = states[row, : int(batch["attention_mask"][row].sum())]
        for batch in packed:
            inputs = {name: value for name, value in batch.items() if name != "place"}
            states = encoder(**inputs).last_hidden_state
            for place in set(batch["place"].unique().tolist()) - {-1}:
                worst = max(worst, float((states[batch["place"] == place] - known[place]).abs().max()))
    return worst
