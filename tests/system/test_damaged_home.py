"""Whatever happens to a file of the home folder, no verb falls over it: one line names it."""

import random
import shutil

import numpy as np
import pytest

from harness.checkpoints import pins
from harness.maintenance import accepted
from harness.reports.table import row_cache
from harness.results import Link, save, save_links, save_timings
from tests.results.test_timings import record
from tests.support import damaged_home
from tests.support.damaged_home import SHIPPED, bench
from tests.support.results import made, trained

EXAMPLES = 16  # of the small home; each damages one file and runs one verb
MANY = 500  # of the home that commands made
CODES = (0, 2, 3, 4)
NO_PLACE = 1  # a folder where a file has to be written: said like a full disk


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory):
    """A folder for homes, with $BENCH_HOME and $BENCH_RECORD in it."""
    base = tmp_path_factory.mktemp("damaged")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("BENCH_HOME", str(base / "home"))
        patched.setenv("BENCH_RECORD", str(base / "record"))
        patched.setattr(row_cache, "WORTH_KEEPING", 0)
        yield base


def small_home(home):
    """Every file that is read by verbs which load no network."""
    for day, entry in enumerate((SHIPPED, "a-1", "a-1"), start=1):
        save(made(entry=entry, when=f"2026110{day}T120000Z-00000001"), np.zeros(10_000, int))
    save(trained(entry="local-gmp", when="20261104T120000Z-00000001"), np.zeros(10_000, int))
    save_timings(record(SHIPPED))
    save_links({"https://host.example/file": Link("2026-11-01T00:00:00Z", True, 200, "fine")})
    pins.pin("a-2", "a" * 64, "https://host.example/file")
    accepted.append(accepted.Acceptance(SHIPPED, "x", "2026-11-01", "why"), accepted.file())
    assert bench("table", "--dataset", "cifar10").exit_code == 0
    assert (home / "cache" / "rows.json").is_file()


VERBS = (
    ["list"],
    ["list", "--json"],
    ["table", "--json"],
    ["show", SHIPPED],
    ["show", "local-gmp"],
    ["claims", "--json"],
    ["compare", "a-1", "local-gmp"],
    ["registry", "lock"],
)


def outcome(verb, *also):
    """(exit code, problems) of a command that must not fall over. also: codes it may have too."""
    done = bench(*verb)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code in (*CODES, *also), done.output
    assert "Traceback" not in done.output
    assert not set(done.output) & set("\x1b\x07\x9b"), done.output
    problems = [line for line in done.stderr.splitlines() if line.startswith("bench: ")]
    return done.exit_code, problems


def hunt(base, whole, verbs_for, seed, count):
    """Damage one file after the other; each time one verb is run and the home is made whole."""
    chance = random.Random(seed)
    kept = [file for file in sorted(whole.rglob("*")) if file.is_file()]
    before = {}
    for _ in range(count):
        home = damaged_home.copy_of(whole, base / "home")
        file = home / chance.choice(kept).relative_to(whole)
        verb = chance.choice(verbs_for(home, file))
        if str(verb) not in before:
            before[str(verb)] = outcome(verb)
            home = damaged_home.copy_of(whole, base / "home")
        kind = chance.choice(damaged_home.kinds_of(file))
        damaged_home.damage(file, kind, chance)
        code, problems = outcome(verb, *([NO_PLACE] if kind == "folder" else []))
        if (code, problems) != before[str(verb)] and code in (2, 4):
            named = any(file.name in line or file.stem in line for line in problems)
            assert named or kind in ("missing", "folder"), (file, kind, verb, problems)
        assert len(problems) <= 3, problems


@pytest.mark.parametrize("seed", range(2))
def test_verbs_go_on_without_a_damaged_file_and_name_it(surroundings, seed):
    home, whole = surroundings / "home", surroundings / "whole"
    shutil.rmtree(home, ignore_errors=True)
    small_home(home)
    damaged_home.copy_of(home, whole)
    hunt(surroundings, whole, lambda *_: VERBS, seed, EXAMPLES // 2)


@pytest.mark.slow
def test_every_file_that_commands_leave_can_be_damaged(surroundings):
    home, whole = surroundings / "home", surroundings / "whole-commands"
    shutil.rmtree(home, ignore_errors=True)
    damaged_home.fill(home)
    damaged_home.copy_of(home, whole)
    hunt(surroundings, whole, damaged_home.readers, 0, MANY)
