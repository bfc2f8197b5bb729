"""CRF averaging: emissions and transitions of several taggers averaged, then one CRF over the result."""

from pathlib import Path

import torch

from common.ensembling.scores import Scores, average
from common.training.batching import prediction_batches
from models.crf import average_crfs
from models.taggers import Tagger


@torch.inference_mode()
def averaged_marginals(emissions: list[Scores], folders: list[Path]) -> Scores:
    """Tag marginals under the mean of several linear-chain CRFs.

    emissions: of the same rows by each model. folders: the saved models, in that order; only their CRFs are used.
    """
    crf = average_crfs([Tagger.from_pretrained(folder).crf for folder in folders])
    mean = average(emissions)
    lengths = (mean.offsets[1:] - mean.offsets[:-1]).tolist()
    values = mean.values.copy()
    for places in prediction_batches(lengths, 65_536):
        rows = [torch.from_numpy(mean.row(place)) for place in places]
        mask = torch.nn.utils.rnn.pad_sequence(
            [torch.ones(len(row), dtype=torch.bool) for row in rows], batch_first=True
        )
        marginals = crf.marginals(torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), mask).numpy()
        for place, own in zip(places, marginals, strict=True):
            values[mean.offsets[place] : mean.offsets[place + 1]] = own[: lengths[place]]
    return mean.with_values(values)
