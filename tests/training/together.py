"""One of two processes, or alone: trains a net without batch norm and prints what this rank has."""

import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors.torch import save_file

from harness.data.batches import resident_batches
from harness.data.training_batches import TrainBatches
from harness.errors import ProtocolError
from harness.evaluation.protocol import evaluate
from harness.registry.recipes import Duration, Optimizer, PruneRounds, Recipe
from harness.system.distributed import processes, rank, refuse_differences, world_size
from harness.training.loop import TrainingTask, train
from harness.training.rounds import prune
from harness.training.run_folder import RunFolder
from methods.acdc import ACDC
from methods.ftwt import FTWT
from methods.ipruning import EDropout, IPruning
from methods.magnitude import Magnitude
from tests.support.runs import EVALUATION, images, network


def job(folder, method, model, prune_rounds=None):
    recipe = Recipe(
        name="together",
        version=1,
        length=Duration(0 if prune_rounds else 5, "epoch"),
        batch=8,
        optimizer=Optimizer("sgd", lr=0.05, momentum=0.9),
        specified_by="paper",
        prune=prune_rounds,
    )
    batches = TrainBatches(
        images(43),  # the last batch of an epoch has 3 images: 1 and 2
        batch_size=8,
        mean=EVALUATION.mean,
        std=EVALUATION.std,
        seed=0,
        channels="gray",
        rank=rank(),
        world_size=world_size(),
    )
    test = resident_batches(images(25, seed=1), EVALUATION, "cpu", batch_size=4)
    return TrainingTask(
        model=model,
        method=method,
        recipe=recipe,
        batches=batches,
        evaluate=lambda net: evaluate(net, test),
        folder=RunFolder(Path(folder), "key"),
        seed=0,
        save_every_s=0.0,
    )


def plain():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(36, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4)
    )


def convolutions(norm):
    """A net whose filters can be searched. norm: with statistics, which are each rank's own."""
    torch.manual_seed(0)
    middle = [torch.nn.BatchNorm2d(8)] if norm else []
    first, second = torch.nn.Conv2d(1, 8, 3), torch.nn.Conv2d(8, 8, 3)
    relu, flat = torch.nn.ReLU(), torch.nn.Flatten()
    return torch.nn.Sequential(first, *middle, relu, second, relu, flat, torch.nn.Linear(32, 4))


SEARCHES = {
    "edropout": (EDropout, {}, False),
    "edropout-part": (EDropout, {"evaluate_images": 4}, True),
    "edropout-released": (EDropout, {"variant": "released", "layout": "ip"}, True),
    "ipruning": (IPruning, {}, True),
    "ipruning-plain": (IPruning, {}, False),
    "ipruning-released": (IPruning, {"variant": "released", "early_epoch": 3}, True),
}


def search(folder, name):
    """Facts of one filter search."""
    method_class, chosen, norm = SEARCHES[name]
    method = method_class(method_class.Settings(candidates=4, **chosen))
    trained = train(job(folder / name, method, convolutions(norm)))
    return {
        "population": method.population.tolist(),
        "best": method.best.tolist(),
        "counters": [method.generations, method.converged, int(method.unchanged)],
        "weights": digest(trained.model.state_dict().values()),
        "losses": [row["train_loss"] for row in trained.history],
    }


GATED = {
    "ftwt": {},
    "ftwt-joint": {"mode": "joint"},
    "ftwt-cooled": {"cooldown": 0.4},  # the mask loss weighs nothing in the last epochs
}


def gated(folder, name):
    """Facts of one training with gates, which batch norm would make each rank's own."""
    method = FTWT(FTWT.Settings(**GATED[name]))
    trained = train(job(folder / name, method, convolutions(norm=False)))
    if rank() == 0:
        save_file(dict(trained.model.state_dict()), folder / f"{name}.safetensors")
    return {
        "weights": digest(trained.model.state_dict().values()),
        "losses": [row["train_loss"] for row in trained.history],
        "predictions": trained.last.predictions.tolist(),
    }


def digest(tensors):
    joined = b"".join(tensor.detach().numpy().tobytes() for tensor in tensors)
    return hashlib.sha256(joined).hexdigest()


def facts(method, trained):
    return {
        "masks": digest(method.masks.values()),
        "kept": sum(int(mask.sum()) for mask in method.masks.values()),
        "weights": digest(trained.model.state_dict().values()),
        "n": trained.last.counts.n,
        "top1": trained.last.counts.top1,
        "predictions": trained.last.predictions.tolist(),
        "losses": [row.get("train_loss") for row in trained.history],
    }


def refusal():
    """What happens to a method whose state depends on the rank."""
    try:
        refuse_differences(lambda: {"mask": torch.full((2,), rank())}, "odd")
    except ProtocolError as error:
        return str(error)
    return ""


def main(out):
    folder = Path(out)
    with processes("cpu"):
        acdc = ACDC(ACDC.Settings(sparsity=0.8))
        first = train(job(folder / "acdc", acdc, plain()))
        magnitude = Magnitude(Magnitude.Settings())
        rounds = PruneRounds(2, 0.5, Duration(1, "epoch"))
        second = prune(job(folder / "prune", magnitude, network(), rounds))  # with batch norm
        found = {"acdc": facts(acdc, first), "prune": facts(magnitude, second)}
        found["refusal"] = refusal()
        found["gated"] = {name: gated(folder, name) for name in GATED}
        found["searches"] = {name: search(folder, name) for name in SEARCHES}
        if rank() == 0:
            save_file(dict(first.model.state_dict()), folder / "acdc.safetensors")
        (folder / f"rank{rank()}.json").write_text(json.dumps(found))


def one_of_two(number, port, out):
    """As torchrun starts it."""
    about = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": 2, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in about.items()})
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    main(out)
