"""Faces in, vectors of length 1 out."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mfc.encoders.device import Compute
from mfc.encoders.network import Encoder
from mfc.faces.batches import Choices, batches, centre_choices, resized_side, transform


def embed(
    encoder: Encoder, crops: np.ndarray, rows: np.ndarray, *, batch_size: int, compute: Compute
) -> np.ndarray:
    """Embed faces with the evaluation transform (stretch, centre window).

    Args:
        crops: (faces, S, S, C) uint8.
        rows: (n,) int64 into ``crops``.

    Returns:
        (n, d) float32, rows of length 1, in the order of ``rows``.
    """
    was_training = encoder.training
    # Not in inference mode: weights that are copied there could not be trained any more.
    encoder.to(compute.device).to(memory_format=torch.channels_last).eval()
    margin = resized_side(encoder.config.image_size) - encoder.config.image_size
    features = np.empty((len(rows), encoder.dim), np.float32)
    with torch.inference_mode(), compute.autocast():
        for positions, chunk in batches(crops, rows, batch_size=batch_size, device=compute.device):
            images = images_of(chunk, centre_choices(len(positions), margin), encoder)
            features[positions] = encoder.features(images).cpu().numpy()
    encoder.train(was_training)
    return features


def images_of(crops: Tensor, choices: Choices, encoder: Encoder) -> Tensor:
    config = encoder.config
    images = transform(crops, choices, image_size=config.image_size, mean=config.mean, std=config.std)
    return images.contiguous(memory_format=torch.channels_last)
