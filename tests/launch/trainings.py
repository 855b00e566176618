"""Small trainings as jobs: a few seeds of convnet_tiny on the digits."""

from pathlib import Path

from harness.launch import Context, Journal, Place, Queue, Watching, make_executor, training_jobs
from harness.launch.through_store import sent
from harness.registry import load, local_pruning, local_training
from harness.system import Options
from harness.training import FirstTraining, Training, TrainingRequest

NETWORK = {"model": "convnet_tiny", "dataset": "digits"}


def trainings(seeds=(0, 1), epochs=2, save_every_s=120.0, images=None, **settings):
    """The jobs of gmp on the digits, or on so many of their images."""
    registry = load()
    settings = {"sparsity": 0.9, **settings}
    changes = {"epochs": epochs, **{f"settings.{name}": v for name, v in settings.items()}}
    changes |= {} if images is None else {"train_images": images}
    entry, recipe, changed = local_training(registry, method="gmp", overrides=changes, **NETWORK)
    training = Training(seeds=tuple(seeds), overrides=changed, save_every_s=save_every_s)
    request = TrainingRequest(entry, recipe, Options(), training)
    return training_jobs(request, Context(registry))


def prunings(target, seeds=(0, 1)):
    """The jobs of magnitude pruning that starts, seed by seed, from one dense training."""
    registry = load()
    changes = {"epochs": 1}
    dense, recipe, _ = local_training(registry, method="dense", overrides=changes, **NETWORK)
    entry, rounds, changed = local_pruning(
        registry,
        method="magnitude",
        start=None,
        target=target,
        rounds=1,
        finetune="1ep",
        overrides={},
        **NETWORK,
    )
    first = FirstTraining(dense, recipe)
    training = Training(seeds=tuple(seeds), overrides=changed, first=first)
    return training_jobs(TrainingRequest(entry, rounds, Options(), training), Context(registry))


def run(name, jobs, home, update=lambda update: None, options=None):
    """The endings of `jobs` on the executor called `name`; the journal lies in `home`."""
    executor = make_executor(name, Place("cpu", home / "logs", options=options or {}))
    journal = Journal.open(home / "events.jsonl")
    try:
        return Queue(executor, journal, Watching(update=update)).run(jobs)
    finally:
        executor.close()
        journal.close()


def shared(jobs, store):
    """`jobs` for nodes that share nothing but the folder `store`."""
    return [sent(job, str(store)) for job in jobs]


def weights(home):
    """Run folder -> bytes of its final weights."""
    found = Path(home).glob("runs/*/*/weights.safetensors")
    return {file.parent.relative_to(home).as_posix(): file.read_bytes() for file in found}


def results(home):
    return sorted(Path(home).glob("reports/results/*/*.json"))
