from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hpcai.train.augment import held_out_view, random_box, training_view
from hpcai.train.recipe import RECIPES

SMALL = RECIPES["small"]


@given(
    height=st.integers(1, 600),
    width=st.integers(1, 600),
    name=st.sampled_from(list(RECIPES)),
    seed=st.integers(0),
)
def test_a_crop_lies_inside_and_keeps_enough(height: int, width: int, name: str, seed: int) -> None:
    recipe = RECIPES[name]
    left, upper, right, lower = random_box(height, width, recipe, np.random.default_rng(seed))
    assert 0 <= left < right <= width + 1e-9
    assert 0 <= upper < lower <= height + 1e-9
    area = (right - left) * (lower - upper)
    square = min(height, width) ** 2
    assert area >= min(recipe.smallest_crop * height * width, square) * (1 - 1e-9)
    ratio = (right - left) / (lower - upper)
    assert 1 / recipe.widest_crop_ratio <= ratio * (1 + 1e-9)
    assert ratio <= recipe.widest_crop_ratio * (1 + 1e-9)


def test_a_view_depends_on_its_generator_alone() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    views = [training_view(pixels, 32, SMALL, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert views[0].shape == (32, 32, 3)
    assert (views[0] == views[1]).all()
    assert (views[0] != views[2]).any()


def test_pictures_are_mirrored_only_where_the_recipe_says_so() -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, :16] = 200
    whole = replace(SMALL, smallest_crop=0.99, widest_crop_ratio=1.0)

    def left_is_light(flip: bool) -> set[bool]:
        recipe = replace(whole, flip=flip)
        views = [training_view(pixels, 32, recipe, np.random.default_rng(seed)) for seed in range(20)]
        return {bool(view[:, :8].mean() > 100) for view in views}

    assert left_is_light(False) == {True}
    assert left_is_light(True) == {True, False}


def test_a_held_out_view_is_the_centre() -> None:
    pixels = np.zeros((100, 60, 3), np.uint8)
    pixels[20:80] = 200
    assert (held_out_view(pixels, 60, SMALL) == 200).all()
    framed = np.zeros((80, 80, 3), np.uint8)
    framed[10:70, 10:70] = 200
    assert held_out_view(framed, 60, replace(SMALL, eval_crop=0.75)).min() == 200
    assert held_out_view(framed, 64, SMALL).min() == 0
