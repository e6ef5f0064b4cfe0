"""Which changes of the code the tests notice: `make mutants`, 150 a package; see `python -m tests.mutation --help`.

mutmut says what can be changed in a function, one place at a time: a sign, a comparison, an argument, a text. Each
change is written into a copy of the project, and the tests that reach its lines run there, quickest file first, in a
process forked from one that has imported torch and Beam already, so that most changes take a second. All changes would
take days: a sample is drawn by a hash of what is changed, so that it stays the same while other functions change, and
the share that is noticed comes with its interval. What was noticed is not run again; what was not is, so that a second
run tells what new tests have won. Alternative: mutmut's own runner, which puts all changes of a file beside each other
behind a decorator: classes are pickled by other names then, and one test that fails so ends the run.

Of a package the tests that TESTS names are run, for one change SECONDS of them at most: so the share is a lower bound.
"""

import argparse
import compileall
import difflib
import hashlib
import importlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import sqrt
from pathlib import Path

TESTS = {
    "pipeline/dedup": ["tests/dedup"],
    "pipeline/shards": ["tests/shards", "tests/test_stores.py", "tests/test_interrupts.py"],
    "trainer": ["tests/trainer"],
}
ROOT = Path(__file__).resolve().parents[1]
ASKED = sys.argv[1:2]
WORK = ROOT / ".mutants" / (ASKED[0].replace("/", "-") if ASKED and ASKED[0] in TESTS else "")  # git does not see it
TREE = WORK / "tree"  # the copy; beside it what was reached and what was noticed
MUTMUT = ROOT / ".venv/mutmut"  # its own folder, behind all others: it brings a pytest of its own
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.txt")  # changes that no test can notice, each with the reason
SECONDS = 30  # of tests for one change
PATIENCE = 10  # times the seconds that its tests took before: a change after which they take longer has no end
MEMORY_BYTES = 24 << 30
Z95 = 1.96
IMPORTED = ("apache_beam", "torch", "pyarrow.dataset", "duckdb", "hypothesis", "pytest", "datasketch", "rich", "typer")
BETWEEN = {"--", "++", "@@"}  # what lines of a diff begin with that are no change
OPTIONS = ["-q", "-m", "not long", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=line"]


@dataclass(frozen=True)
class Mutant:
    """One change, `what`, of the function `where`; `lines` are those of its statement, `text()` is the file with it."""

    path: str
    where: str
    lines: range
    function: range
    what: str
    text: Callable[[], str]

    @property
    def name(self):
        """Eight digits that stay the same while the rest of the function changes."""
        return hashlib.sha256(f"{self.path} {self.where} {self.what}".encode()).hexdigest()[:8]

    def __str__(self):
        before, after = (text.splitlines() for text in ((TREE / self.path).read_text(), self.text()))
        changed = [line for line in difflib.unified_diff(before, after, n=0, lineterm="") if line[:2] not in BETWEEN]
        return "\n".join([f"{self.name} {self.path}:{self.lines.start} {self.where}", *changed])


def mutants_of(package, size, seed):
    """The sample of a package, and how many changes there are."""
    every = [one for path in sorted((TREE / package).rglob("*.py")) for one in mutants_in(path)]
    every.sort(key=lambda one: hashlib.sha256(f"{seed} {one.path} {one.where} {one.what}".encode()).digest())
    return [one for one in every if one.name not in equivalents()][:size], every


def mutants_in(path):
    """All changes that mutmut knows for a file."""
    import libcst as cst
    from libcst.metadata import MetadataWrapper, ParentNodeProvider, PositionProvider
    from mutmut.mutation import file_mutation as mutmut

    code = path.read_text()
    module, mutations, *_ = mutmut.create_mutations(str(path), code)
    wrapper = MetadataWrapper(module, unsafe_skip_copy=True)
    places, parents = wrapper.resolve(PositionProvider), wrapper.resolve(ParentNodeProvider)

    def lines(node):
        return range(places[node].start.line, places[node].end.line + 1)

    def upwards(node):
        while node is not module:
            yield node
            node = parents[node]

    def statement(node):
        """The smallest statement around a node; the node itself in the head of a larger one."""
        around = (one for one in upwards(node) if isinstance(one, cst.SimpleStatementLine) and one in places)
        return next(around, next(one for one in upwards(node) if one in places))

    seen = Counter()
    for one in mutations:
        outer = one.contained_by_top_level_function
        if outer is None:
            continue
        top = [*upwards(outer)][-1]
        names = [part.name.value for part in upwards(outer) if isinstance(part, cst.FunctionDef | cst.ClassDef)]
        what = f"{module.code_for_node(one.original_node).strip()} -> {module.code_for_node(one.mutated_node).strip()}"
        seen[names[0], what] += 1
        where = ".".join(reversed(names))

        def text(one=one, top=top):
            changed = mutmut.deep_replace(top, one.original_node, one.mutated_node)
            return module.with_changes(body=[changed if part is top else part for part in module.body]).code

        yield Mutant(
            str(path.relative_to(TREE)), where, lines(statement(one.original_node)), lines(outer),
            f"{what} #{seen[names[0], what]}", text,
        )  # fmt: skip


@cache
def equivalents():
    """The changes that no test can notice: their reasons, by name."""
    lines = EQUIVALENT.read_text().splitlines() if EQUIVALENT.exists() else []
    return dict(line.split(None, 1) for line in lines if line and not line.startswith("#"))


def copied():
    """The project as it is, in a folder of its own."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    files = [name for name in subprocess.check_output(listed, cwd=ROOT, text=True).split("\0") if name]
    known = set(files)
    for old in [*TREE.rglob("*.py")]:
        if str(old.relative_to(TREE)) not in known:
            old.unlink()
    for name in files:
        source, target = ROOT / name, TREE / name
        if source.is_file() and not (target.exists() and target.read_bytes() == source.read_bytes()):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    for package in ("pipeline", "trainer", "tests"):
        compileall.compile_dir(TREE / package, quiet=1)  # each fork imports nearly all of it
    beside = WORK / "shared"  # tests on real data look for it beside the project
    if (ROOT / "../shared").exists() and not beside.exists():
        beside.symlink_to((ROOT / "../shared").resolve())


class Chosen:
    """A pytest plugin: the tests of these names and no others, the files with the least to do first."""

    def __init__(self, seconds):
        self.seconds = seconds

    def pytest_collection_modifyitems(self, items):
        """Leave the chosen ones, in order."""
        of_file = Counter()
        for name, seconds in self.seconds.items():
            of_file[name.split("::")[0]] += seconds
        key = {name: (of_file[name.split("::")[0]], name.split("::")[0], one) for name, one in self.seconds.items()}
        items[:] = sorted((item for item in items if item.nodeid in key), key=lambda item: key[item.nodeid])


class Reach:
    """A pytest plugin: the seconds of CPU that each test takes, and the lines that it runs in a package."""

    def __init__(self, package, out):
        import coverage

        self.out, self.package, self.tests, self.failed = out, package, {}, []
        self.coverage = coverage.Coverage(data_file=None, include=[f"{TREE / package}/*"])
        self.coverage.start()

    def pytest_runtest_protocol(self, item):
        """Name the context in which lines are noted."""
        self.coverage.switch_context(item.nodeid)
        self.tests[item.nodeid] = {"seconds": -sum(os.times()[:4]), "lines": {}}

    def pytest_runtest_logreport(self, report):
        """Note what failed."""
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_runtest_logfinish(self, nodeid):
        """Note what it took."""
        self.tests[nodeid]["seconds"] += sum(os.times()[:4])

    def pytest_sessionfinish(self):
        """Write it all down."""
        self.coverage.stop()
        data = self.coverage.get_data()
        for path in data.measured_files():
            for line, names in data.contexts_by_lineno(path).items():
                for name in filter(None, names):
                    self.tests[name]["lines"].setdefault(str(Path(path).relative_to(TREE)), []).append(line)
        self.out.write_text(json.dumps({"tests": self.tests, "failed": self.failed}))


def run_tests(files, plugin, seconds):
    """Run tests in a fork, in the copy; its exit code, 0 where all passed, None where it was ended after `seconds`."""
    log = WORK / "log.txt"
    child = os.fork()
    if not child:
        try:
            os.setsid()
            os.chdir(TREE)
            with log.open("w") as out:
                os.dup2(out.fileno(), 1)
                os.dup2(out.fileno(), 2)
            resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 5))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
            import hypothesis
            import pytest

            sys.dont_write_bytecode = not isinstance(plugin, Reach)  # what was compiled of a change is not to stay

            phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]  # whether it fails, not how simply it can
            hypothesis.settings.register_profile("mutants", phases=phases, deadline=None, database=None)
            hypothesis.settings.load_profile("mutants")
            first = [] if isinstance(plugin, Reach) else ["-x"]
            os._exit(pytest.main([*OPTIONS, *first, "--hypothesis-seed=0", *files], plugins=[plugin]))
        finally:
            os._exit(70)
    end = time.monotonic() + 4 * seconds  # of the clock: a change that waits for ever takes no CPU, others may
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def reached(package):
    """For each test of a package: its seconds, and the lines of the package that it runs; kept by what they hang on."""
    kept = WORK / "reach.json"
    known = json.loads(kept.read_text()) if kept.exists() else {}
    sources = hashlib.sha256(b"".join(path.read_bytes() for path in sorted((TREE / package).rglob("*.py"))))
    states, stale = {}, []
    for place in TESTS[package]:
        for path in sorted([TREE / place] if place.endswith(".py") else (TREE / place).rglob("test_*.py")):
            file = str(path.relative_to(TREE))
            states[file] = hashlib.sha256(sources.digest() + path.read_bytes()).hexdigest()
            if known.get(file, {}).get("of") != states[file]:
                stale.append(file)
    for file in stale:
        out = WORK / "reached.json"
        out.unlink(missing_ok=True)
        run_tests([file], Reach(package, out), 3_000)
        if not out.exists():
            sys.exit(f"{file}: cannot be run; see {WORK / 'log.txt'}")
        found = json.loads(out.read_text())
        for name in found["failed"]:
            print(f"  {name}: fails without any change here, so it is left out")
            found["tests"].pop(name, None)
        known[file] = {"of": states[file], "tests": found["tests"]}
        kept.write_text(json.dumps(known))
        print(f"  {file}: {len(found['tests'])} tests", flush=True)
    return {name: test for file in states for name, test in known[file]["tests"].items()}


def noticed(mutant, tests):
    """Whether tests fail by a change, and what was seen."""
    ordered: dict[str, float] = {}  # who comes to the line, then to its function, then to its file: processes that
    for lines in (mutant.lines, mutant.function, None):  # a test starts are not seen, nor is what an import runs
        near = {name: one["seconds"] for name, one in tests.items() if comes(one["lines"].get(mutant.path, []), lines)}
        ordered |= {name: near[name] for name in sorted(near.keys() - ordered.keys(), key=near.__getitem__)}
    chosen, total = {}, 0.0
    for name, seconds in ordered.items():
        if not chosen or total + seconds <= SECONDS:
            chosen[name], total = seconds, total + seconds
    if not chosen:
        return False, "no test comes here"
    file = TREE / mutant.path
    whole = file.read_text()
    for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*"):
        compiled.unlink()
    file.write_text(mutant.text())
    try:
        code = run_tests(sorted({name.split("::")[0] for name in chosen}), Chosen(chosen), 20 + PATIENCE * total)
    finally:
        file.write_text(whole)
    return code != 0, f"{len(chosen)} of {len(ordered)} tests, {total:.0f} s, code {code}"


def comes(reached, lines):
    """Whether a test that runs these lines of a file comes to some others; None: to any."""
    return bool(reached if lines is None else {*lines} & {*reached})


def interval(hits, of):
    """Wilson's interval of a share at 95 %."""
    share, spread = hits / of, Z95 * Z95 / of
    middle, half = share + spread / 2, Z95 * sqrt(share * (1 - share) / of + spread / (4 * of))
    return (middle - half) / (1 + spread), (middle + half) / (1 + spread)


def main():
    """Draw, run, tell."""
    parser = argparse.ArgumentParser(description="Change the code in one place at a time: do the tests notice?")
    parser.add_argument("packages", nargs="*", default=[*TESTS], help=f"of {', '.join(TESTS)}")
    parser.add_argument("--size", type=int, default=150, help="changes of each package")
    parser.add_argument("--seed", type=int, default=1, help="of the draw")
    asked = parser.parse_args()
    if asked.packages[:1] != ASKED or len(asked.packages) > 1:  # each in a process and a copy of its own
        for package in asked.packages:
            more = ["--size", str(asked.size), "--seed", str(asked.seed)]
            subprocess.run([sys.executable, "-m", "tests.mutation", package, *more], check=True)
        return
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(TREE), "PYTHONDONTWRITEBYTECODE": "1"}
    WORK.mkdir(parents=True, exist_ok=True)
    copied()
    sys.path[:] = [str(TREE), *(one for one in sys.path if one not in {"", str(ROOT)}), str(MUTMUT)]
    for name in IMPORTED:
        importlib.import_module(name)
    results = WORK / "noticed.txt"
    before = set(results.read_text().split()) if results.exists() else set()
    for package in asked.packages:
        sample, every = mutants_of(package, asked.size, asked.seed)
        print(f"{package}: {len(sample)} of {len(every)} changes", flush=True)
        tests, survivors = reached(package), []
        for number, mutant in enumerate(sample):
            if mutant.name in before:
                continue
            begun = sum(os.times()[:4])
            seen, how = noticed(mutant, tests)
            how += f", {sum(os.times()[:4]) - begun:.0f} s of CPU"
            print(f"{number} {'noticed' if seen else 'NOT NOTICED'} ({how}) {mutant}", flush=True)
            if seen:
                with results.open("a") as file:
                    file.write(f"{mutant.name}\n")
            else:
                survivors.append(mutant)
        hits = len(sample) - len(survivors)
        low, high = interval(hits, len(sample))
        print(f"\nNot noticed in {package}:", *survivors, sep="\n")
        print(f"{package}: {hits} of {len(sample)} noticed, {hits / len(sample):.1%} ({low:.1%} to {high:.1%} of all)")
        print(f"left out as equivalent: {len(equivalents().keys() & {one.name for one in every})}")


if __name__ == "__main__":
    main()
