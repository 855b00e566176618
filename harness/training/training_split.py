"""What a recipe makes of the training split: batches, a part held back, calibration images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.data import (
    Augment,
    EvaluationBatches,
    FolderTrainBatches,
    ImageSet,
    Normalise,
    TrainBatches,
    decode,
    find_pictures,
    generator_for,
    in_channels,
    load,
    ordered_map,
    resident_batches,
    spread_rows,
    stacked,
)
from harness.errors import ProtocolError
from harness.registry import (
    EVALUATION_BATCH,
    Augmentation,
    Evaluation,
    Recipe,
    data_set,
    input_shape,
)
from harness.system import rank, world_size
from harness.training.random_labels import random_labels, relabelled
from methods.base import Method

VALIDATION = -1  # generator of the split; epochs, whose generators are their neighbours, count up
WHOLE_CROP = 224  # pixels, where neither recipe nor evaluation names a crop


def train_batches(
    recipe: Recipe, evaluation: Evaluation, root: Path | None, device: str, seed: int
) -> TrainBatches | FolderTrainBatches:
    """The recipe's batches of the training split, normalised as in `evaluation`.

    Without the part that the recipe holds back for validation. Raises DataError, ProtocolError.
    """
    common: dict[str, Any] = {
        "batch_size": recipe.batch,
        "mean": evaluation.mean,
        "std": evaluation.std,
        "seed": seed,
        "drop_last": recipe.drop_last,
        "channels": evaluation.channels,
        "scale": evaluation.scale,
        "device": device,
        "rank": rank(),
        "world_size": world_size(),
    }
    if data_set(evaluation.dataset).streamed:
        return _from_folder(recipe, evaluation, root, common)
    images = _training_images(recipe, evaluation, root)
    if recipe.random_labels:
        images = relabelled(images, *_redrawn(recipe, evaluation, len(images), seed))
    if recipe.validation_frac:
        images = images.take(split_rows(len(images), recipe.validation_frac, seed)[0])
    return TrainBatches(images, augment=_augment(recipe.augmentation), **common)


def watched_batches(
    recipe: Recipe, evaluation: Evaluation, root: Path | None, device: str, seed: int
) -> dict[str, EvaluationBatches]:
    """Training images to evaluate beside the test set, prepared as for evaluation.

    "val": the part that the recipe holds back. "random_labels": the images whose labels were drawn
    anew, judged by those; "true_labels": the same images judged by their own.
    """
    if not (recipe.validation_frac or recipe.random_labels):
        return {}
    images = _training_images(recipe, evaluation, root)
    parts = {}
    if recipe.validation_frac:
        parts["val"] = images.take(split_rows(len(images), recipe.validation_frac, seed)[1])
    if recipe.random_labels:
        rows, labels = _redrawn(recipe, evaluation, len(images), seed)
        parts["random_labels"] = relabelled(images, rows, labels).take(rows)
        parts["true_labels"] = images.take(rows)
    return {
        name: resident_batches(part, evaluation, device, EVALUATION_BATCH)
        for name, part in parts.items()
    }


def subset_reason(recipe: Recipe, evaluation: Evaluation) -> str:
    """What a result says that was trained on a part of the images; "" if on all."""
    total = data_set(evaluation.dataset).images.get("train", 0)
    wanted = recipe.train_images
    if wanted is None or wanted >= total:
        return ""
    return f"trained on {wanted:,} of {total:,} images, evenly spread"


def _training_images(recipe: Recipe, evaluation: Evaluation, root: Path | None) -> ImageSet:
    images = load(evaluation.dataset, "train", root, size=evaluation.resize)
    if recipe.train_images is None:
        return images
    return images.take(spread_rows(len(images), recipe.train_images))


def _redrawn(
    recipe: Recipe, evaluation: Evaluation, total: int, seed: int
) -> tuple[Tensor, Tensor]:
    if recipe.random_labels > total:
        msg = f"recipe {recipe.name} draws {recipe.random_labels} labels anew"
        raise ProtocolError(f"{msg}, but {evaluation.dataset} has {total} training images")
    return random_labels(total, recipe.random_labels, data_set(evaluation.dataset).classes, seed)


def split_rows(total: int, frac: float, seed: int) -> tuple[Tensor, Tensor]:
    """Row numbers (training, held back), both ascending: round(frac * total) random ones go.

    The draw has a generator of its own, so it moves neither the order nor the augmentation.
    """
    order = torch.randperm(total, generator=generator_for(seed, VALIDATION))
    count = round(frac * total)
    return order[count:].sort().values, order[:count].sort().values


def calibration_images(
    method: Method, evaluation: Evaluation, root: Path | None, device: str, seed: int
) -> Tensor | None:
    """The images (M,C,H,W) float32, normalised, that `method` asks for before a pruning event.

    The method's made-up ones, which need no data set; or training images by its own rule, prepared
    as for evaluation, without augmentation; None if it looks at neither.
    """
    images = method.calibration_images(input_shape(evaluation), seed)
    if images is None and type(method).calibration_rows is not Method.calibration_rows:
        real = _from_files if data_set(evaluation.dataset).streamed else _from_array
        images = real(method, evaluation, root, device)
    return None if images is None else images.to(device)


def _from_array(
    method: Method, evaluation: Evaluation, root: Path | None, device: str
) -> Tensor | None:
    whole = load(evaluation.dataset, "train", root, size=evaluation.resize)
    rows = method.calibration_rows(len(whole), False)
    if rows is None:
        return None
    chosen = whole.take(torch.tensor(list(rows), dtype=torch.int64))
    ((images, _),) = resident_batches(chosen, evaluation, device, batch_size=len(chosen))
    return images


def _from_files(
    method: Method, evaluation: Evaluation, root: Path | None, device: str
) -> Tensor | None:
    files = find_pictures(evaluation.dataset, "train", root).pictures.files
    rows = method.calibration_rows(len(files), True)
    if rows is None:
        return None
    resize, crop = evaluation.resize, evaluation.crop or WHOLE_CROP
    decoded = ordered_map(
        lambda row: decode(files[row], resize, crop, evaluation.interpolation), list(rows), ahead=64
    )
    normalise = Normalise(evaluation.mean, evaluation.std, evaluation.scale, device)
    return normalise(in_channels(stacked(decoded, device), evaluation.channels))


def _from_folder(
    recipe: Recipe, evaluation: Evaluation, root: Path | None, common: dict[str, Any]
) -> FolderTrainBatches:
    if recipe.validation_frac or recipe.random_labels:
        msg = f"recipe {recipe.name} holds back images of the training set or changes labels"
        raise ProtocolError(f"{msg}, which {evaluation.dataset}, a set of files, cannot do")
    wanted = recipe.augmentation
    pictures = find_pictures(evaluation.dataset, "train", root)
    if recipe.train_images is not None:
        pictures = pictures.take(spread_rows(len(pictures.pictures.files), recipe.train_images))
    return FolderTrainBatches(
        pictures,
        crop=wanted.random_resized_crop or evaluation.crop or WHOLE_CROP,
        resize=None if wanted.random_resized_crop else evaluation.resize,
        flip=wanted.flip,
        interpolation=evaluation.interpolation,
        **common,
    )


def _augment(wanted: Augmentation) -> Augment:
    return Augment(
        crop_padding=wanted.crop_padding,
        flip=wanted.flip,
        cutout=wanted.cutout,
        rotation_degrees=wanted.rotation_degrees,
    )
