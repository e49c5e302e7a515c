"""Who may import whom, and what nobody may call: the architecture, read from the source.

A new module gets its place in `ORDER`: below all that it imports, above all that imports it. That list is
also a way to read a package, from the ground up.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# What a package may import of ours, beside itself.
MAY_IMPORT: dict[str, set[str]] = {
    "trioactor": set(),
    "trioactor.testing": {"trioactor"},
    "trioactor.examples": {"trioactor"},
    "persistence": set(),
    "federation.learning": set(),
    "federation": {"trioactor", "persistence", "federation.learning"},
    "federation.simulation": {"federation", "trioactor", "persistence", "federation.learning"},
    "gossip": {"trioactor", "persistence", "federation.learning"},
    "prep": {"federation.learning"},
}

# What a package may use of one that it may not import: parts for any launcher or role, none of its roles.
SHARED: dict[str, set[str]] = {
    "gossip": {
        "federation.config",
        "federation.credentials",
        "federation.crew",
        "federation.errors",
        "federation.exports",
        "federation.flags",
        "federation.models",
        "federation.offload",
        "federation.preflight",
        "federation.processes",
        "federation.programs",
        "federation.results",
        "federation.settings",
        "federation.stopping",
        "federation.terminal",
        "federation.workspace",
    }
}

# From the ground up: a module imports only what stands before it. `__init__` and `__main__` stand last.
ORDER: dict[str, str] = {
    "trioactor": """
        version errors ledger limits messages
        framing shapes vocabulary envelope named frames codec arrays
        mailbox middleware ref actor cell tree supervision process
        ports direct tls_stream tls unfinished unread fairness turns door complaints pace
        outbox writer intake lead connection link remote system
    """,
    "trioactor.testing": """
        errors agenda trace links path waiting tcp listening hosts sockets hooks network
        determinism watchman simulation faults accounts probes pytest_plugin
    """,
    "trioactor.examples": "counter pipeline worker_pool measuring tracing",
    "persistence": """
        errors columns arrays rows database schema rounds table parts lines
        history selection wording sides report run_json comparison canvas plot plot_sides plot_comparison
        delivery gossip_rows gossip_schema gossip gossip_history gossip_report gossip_plot gossip_show
        tracking tensorboard_tracker mlflow_tracker
    """,
    "federation.learning": """
        errors archive params chance partition exact averaging model schedules strategy robust server_steps
        strategies buffered regions baseline
        model_files estimator torch_turns torch_model
    """,
    "federation": """
        errors rules messages events targets settings config flags credentials
        models sampling round buffer roster state services course view
        rows
        offload joining worker aggregator evaluator observer provider
        processes crew workspace cleanup stopping programs exports results
        authority roles preflight check terminal role_programs tracking launch start
    """,
    "federation.simulation": """
        config data assignment batched torch_batched trainer sources scenario crowd agenda engine
        pool on_ray engines ground past record simulation terminal program
    """,
    "gossip": """
        errors clock identity plain crdt replica timing messages outgoing ownership digest transfer
        roster news suspicion prober namesake membership survey models view
        weights learner pace store birth agreement standing notary signals plan keeper trainer peer
        config places traffic network reporter terminal roles programs launch start
    """,
    "prep": """
        errors brushes tiles patches extractors synthetic digits shifts regions plans split
        images decode weights backbones fetch unfinished extraction eurosat
        prepare picture preview terminal certificates usage
    """,
}

# Big, slow to import and not needed by every job: imported where they are used.
LATE = {
    "matplotlib",
    "scipy",
    "sklearn",
    "torch",
    "torchvision",
    "pandas",
    "pyarrow",
    "ray",
    "safetensors",
    "onnx",
    "tensorboardX",
    "mlflow",
}

# Made for one such library, and for who has it: nobody of ours imports these when it is imported itself.
DEDICATED = {
    "federation.learning.estimator": "sklearn",
    "federation.learning.torch_model": "torch",
    "federation.learning.torch_turns": "torch",
}

# Where a package on the index is imported by another name.
NAMES = {
    "mlflow_skinny": "mlflow",
    "opentelemetry_api": "opentelemetry",
    "pillow": "PIL",
    "scikit_learn": "sklearn",
}

# Actors and messages work without NumPy; arrays hook in from one module.
NUMPY_HOOK = "trioactor/arrays.py"

# A trio program runs on trio alone, and what came over a network is never unpickled.
NEVER = {"asyncio", "pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}

# A cluster can be replayed from its seed because nothing asks the world for time, chance or threads.
# A name that ends in "()" is meant without arguments: not seeded, or now.
WORLD = {
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "numpy.random.default_rng()",
    "numpy.random.seed",
    "os.getrandom",
    "os.urandom",
    "random.Random()",
    "random.SystemRandom",
    "random.choice",
    "random.randint",
    "random.random",
    "random.randrange",
    "random.sample",
    "random.shuffle",
    "random.uniform",
    "secrets",
    "threading.Thread",
    "time.monotonic",
    "time.perf_counter",
    "time.sleep",
    "time.time",
    "time.time_ns",
    "trio.to_thread.run_sync",
    "uuid",
}

# The seams: who asks the world all the same, and why.
SEAMS: dict[tuple[str, str], str] = {
    ("federation/offload.py", "trio.to_thread.run_sync"): "where blocking work goes",
    ("federation/roles.py", "datetime.datetime.now"): "the name of a run that was not given one",
    ("federation/start.py", "datetime.datetime.now"): "the same, when all roles are started together",
    ("federation/roles.py", "time.time"): "when things happened, for the record; nothing waits by it",
    ("prep/terminal.py", "time.monotonic"): "how many a second, for people",
    ("prep/extraction.py", "trio.to_thread.run_sync"): "decoding, the model and the disk",
    ("federation/simulation/simulation.py", "time.time"): "when a simulation ran, for the record",
    ("federation/simulation/on_ray.py", "secrets"): "the token of a cluster that is started here",
    ("prep/__main__.py", "datetime.datetime.now"): "from when on a new certificate is valid",
    ("gossip/start.py", "datetime.datetime.now"): "the name of a run that was not given one",
    ("gossip/roles.py", "time.time"): "when things happened, for the record; nothing waits by it",
    ("persistence/database.py", "time.monotonic"): "blocking: how long another writer is waited for",
    ("persistence/database.py", "time.sleep"): "blocking: between two tries for the lock",
    ("trioactor/system.py", "random.Random()"): "for a system that was given no generator",
}


# --- reading the source -------------------------------------------------------------------------


def source_files() -> list[Path]:
    """Return every Python file of the packages, as paths from the checkout."""
    return sorted(
        path.relative_to(ROOT)
        for package in MAY_IMPORT
        if "." not in package
        for path in (ROOT / package).rglob("*.py")
    )


def parse(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(), filename=str(path))


def dotted(path: Path) -> str:
    """Return the module's name: `federation/learning/model.py` is `federation.learning.model`."""
    return ".".join(path.with_suffix("").parts)


def imports(tree: ast.AST, module: str) -> Iterator[str]:
    """Yield the full name of everything that a module imports, wherever in it.

    A name taken out of a module is yielded as `module.name`, since it may be a module itself.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = node.module or ""
            if node.level:
                parent = ".".join([*module.split(".")[: -node.level], *parent.split(".")]).rstrip(".")
            yield from (f"{parent}.{alias.name}" for alias in node.names)


class ForRunning(ast.NodeTransformer):
    """Takes out what only type checkers read."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        if ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            return node.orelse
        return self.generic_visit(node)


class ForImporting(ForRunning):
    """Takes out the bodies of functions, too: what is left runs when the module is imported."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        return None

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        return None


def package_of(name: str) -> str | None:
    """Return our package that a full name lies in, the innermost one, or None when it is not ours."""
    inside = [package for package in MAY_IMPORT if f"{name}.".startswith(f"{package}.")]
    return max(inside, key=len, default=None)


def place(name: str) -> tuple[str, int] | None:
    """Return the package of a full name, and where in the package's order its module stands.

    `__init__`, `__main__` and names that the package itself re-exports stand behind all modules.
    """
    package = package_of(name)
    if package is None:
        return None
    order = ORDER[package].split()
    module = name.removeprefix(package).lstrip(".").split(".")[0]
    return package, order.index(module) if module in order else len(order)


def world_names(tree: ast.AST, module: str) -> Iterator[str]:
    """Yield the full names of `WORLD` that a module uses, by whatever name it imported them."""
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                known[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for name in imports(tree, module):
        if name.split(".")[0] in WORLD:
            yield name.split(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and not node.args and not node.keywords:
            yield from WORLD & {f"{full_name(node.func, known)}()"}
        elif isinstance(node, ast.Attribute | ast.Name):
            yield from WORLD & {full_name(node, known)}


def full_name(node: ast.expr, known: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{full_name(node.value, known)}.{node.attr}"
    return known.get(node.id, "") if isinstance(node, ast.Name) else ""


# --- the rules ----------------------------------------------------------------------------------


def test_every_package_has_its_row() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/py.typed")}
    missing = packages - MAY_IMPORT.keys()

    assert not missing, f"add {', '.join(missing)} to MAY_IMPORT and ORDER in tests/test_layers.py"
    assert MAY_IMPORT.keys() == ORDER.keys()


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_every_module_has_its_place(package: str) -> None:
    order = ORDER[package].split()
    modules = {
        dotted(path).removeprefix(package).lstrip(".").split(".")[0]
        for path in source_files()
        if package_of(dotted(path)) == package
    } - {"__init__", "__main__"}

    assert modules - set(order) == set(), (
        f'add them to ORDER["{package}"] in tests/test_layers.py, behind all that they import'
    )
    assert len(order) == len(set(order))


@pytest.mark.parametrize("path", source_files(), ids=str)
def test_a_package_imports_only_what_lies_below_it(path: Path) -> None:
    package = package_of(dotted(path))
    assert package is not None
    shared = SHARED.get(package, set())
    others = {
        package_of(name)
        for name in imports(parse(path), dotted(path))
        if not any(f"{name}.".startswith(f"{one}.") for one in shared)
    } - {None, package}

    assert others <= MAY_IMPORT[package], (
        f"{path} imports {others - MAY_IMPORT[package]}; what {package} may import is {MAY_IMPORT[package]}"
    )


@pytest.mark.parametrize("path", source_files(), ids=str)
def test_a_module_imports_only_what_stands_above_it(path: Path) -> None:
    here = place(dotted(path))
    assert here is not None
    package, rank = here
    order = ORDER[package].split()
    if rank == len(order):  # __init__ and __main__ may import all
        return
    for name in imports(parse(path), dotted(path)):
        there = place(name)
        if there is None or there[0] != package:
            continue
        assert there[1] < rank, (
            f"{path} imports {name}, which stands behind it; the order of {package} is: {' '.join(order)}"
        )


@pytest.mark.parametrize("path", source_files(), ids=str)
def test_big_libraries_are_imported_where_they_are_used(path: Path) -> None:
    names = set(imports(ForImporting().visit(parse(path)), dotted(path)))
    late = LATE - {DEDICATED.get(dotted(path))}
    top = {name.split(".")[0] for name in names} & late

    assert not top, f"{path} imports {top} at module level; import it in the function"
    assert not {one for one, big in DEDICATED.items() if one in names and big in late}, (
        f"{path} imports at module level what needs {late}"
    )


@pytest.mark.parametrize("path", source_files(), ids=str)
def test_no_other_event_loop_and_no_pickle(path: Path) -> None:
    never = {name.split(".")[0] for name in imports(parse(path), dotted(path))} & NEVER

    assert not never, f"{path} imports {never}"


def test_what_is_imported_is_declared() -> None:
    """Not only there because something else happens to need it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    declared = {re.split(r"[^\w-]", requirement)[0].replace("-", "_") for requirement in requirements}
    known = {NAMES.get(name, name) for name in declared} | set(sys.stdlib_module_names)
    wrong = {
        (str(path), name)
        for path in source_files()
        for name in imports(ForRunning().visit(parse(path)), dotted(path))
        if package_of(name) is None and name.split(".")[0] not in known
    }

    assert not wrong


def test_the_runtime_needs_no_numpy() -> None:
    users = {
        str(path)
        for path in source_files()
        if path.parts[0] == "trioactor"
        and any(name.split(".")[0] == "numpy" for name in imports(parse(path), dotted(path)))
    }

    assert users <= {NUMPY_HOOK}


def test_only_the_seams_ask_the_world() -> None:
    found = {(str(path), name) for path in source_files() for name in world_names(parse(path), dotted(path))}

    assert found - SEAMS.keys() == set(), "take time, chance and threads from a seam, or name the seam here"
    assert SEAMS.keys() - found == set(), "these seams are gone; remove them here"


# --- the rules can fail -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import time\nnow = time.time()", {"time.time"}),
        ("import time as clock\nask = clock.time", {"time.time"}),
        ("from time import time\nnow = time()", {"time.time"}),
        ("import numpy as np\nchance = np.random.default_rng()", {"numpy.random.default_rng()"}),
        ("import random\nrandom.Random()", {"random.Random()"}),
        ("import os.path\nos.urandom(4)", {"os.urandom"}),
        ("from uuid import uuid4", {"uuid"}),
        ("def late():\n    import trio\n    trio.to_thread.run_sync(print)", {"trio.to_thread.run_sync"}),
        ("import random\ndef f(rng: random.Random): rng.random()", set()),
        ("import numpy as np\nchance = np.random.default_rng(7)", set()),
        ("import trio\nnow = trio.current_time()", set()),
    ],
)
def test_who_asks_the_world_is_found(source: str, names: set[str]) -> None:
    assert set(world_names(ast.parse(source), "some.module")) == names


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import a.b", {"a.b"}),
        ("from a import b", {"a.b"}),
        ("from . import ref", {"trioactor.testing.ref"}),
        ("from ..ref import ActorRef", {"trioactor.ref.ActorRef"}),
        ("def late():\n    from a import b", {"a.b"}),
    ],
)
def test_imports_are_found(source: str, names: set[str]) -> None:
    assert set(imports(ast.parse(source), "trioactor.testing.probe")) == names


def test_imports_are_told_by_when_they_happen() -> None:
    source = """
import a
try:
    import b
except ImportError:
    pass
if TYPE_CHECKING:
    import c
def late():
    import d
class Held:
    import e
"""
    assert set(imports(ForRunning().visit(ast.parse(source)), "m")) == {"a", "b", "d", "e"}
    assert set(imports(ForImporting().visit(ast.parse(source)), "m")) == {"a", "b", "e"}
