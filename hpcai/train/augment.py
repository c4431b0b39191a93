"""From a decoded picture to the square that the model sees."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from hpcai.train.dataset import Pixels
from hpcai.train.recipe import Recipe

_TRIES = 10

Box = tuple[float, float, float, float]


def training_view(pixels: Pixels, size: int, recipe: Recipe, generator: np.random.Generator) -> Pixels:
    """A random crop, resized to `size` by `size`, mirrored by chance where the recipe says so."""
    height, width = pixels.shape[:2]
    view = _resized(pixels, size, random_box(height, width, recipe, generator))
    if recipe.flip and generator.random() < 0.5:
        view = view[:, ::-1]
    return view


def held_out_view(pixels: Pixels, size: int, recipe: Recipe) -> Pixels:
    """The centre of the picture, resized to `size` by `size`."""
    height, width = pixels.shape[:2]
    side = min(height, width) * recipe.eval_crop
    left, upper = (width - side) / 2, (height - side) / 2
    return _resized(pixels, size, (left, upper, left + side, upper + side))


def random_box(height: int, width: int, recipe: Recipe, generator: np.random.Generator) -> Box:
    """Left, upper, right and lower edge of a crop of random area and shape (Szegedy et al. 2014)."""
    widest = math.log(recipe.widest_crop_ratio)
    for _ in range(_TRIES):
        area = height * width * generator.uniform(recipe.smallest_crop, 1.0)
        ratio = math.exp(generator.uniform(-widest, widest))
        crop_width, crop_height = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if crop_width <= width and crop_height <= height:
            left = generator.uniform(0, width - crop_width)
            upper = generator.uniform(0, height - crop_height)
            return left, upper, left + crop_width, upper + crop_height
    side = min(height, width)
    left, upper = (width - side) / 2, (height - side) / 2
    return left, upper, left + side, upper + side


def _resized(pixels: Pixels, size: int, box: Box) -> Pixels:
    image = Image.fromarray(pixels)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box))
