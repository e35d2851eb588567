"""What is imported when, and in which direction."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mtpfix
from mtpfix.engines import registry

PACKAGE = Path(mtpfix.__file__).parent

HEAVY = {"torch", "compressed_tensors", "vllm", "huggingface_hub", "transformers", "safetensors"}
EDGES = {"rich", "typer", "click", *HEAVY}

LAYERS: tuple[tuple[str, ...], ...] = (
    ("mtpfix.model", "mtpfix.errors"),
    ("mtpfix.facts", "mtpfix.findings", "mtpfix.symptoms", "mtpfix.probing"),
    ("mtpfix.checkpoint", "mtpfix.quant", "mtpfix.patterns"),
    ("mtpfix.engines",),
    ("mtpfix.rules", "mtpfix.repair", "mtpfix.acceptance"),
    (
        "mtpfix.advice",
        "mtpfix.subject",
        "mtpfix.merging",
        "mtpfix.analysis",
        "mtpfix.recipe",
        "mtpfix.targets",
        "mtpfix.selection",
        "mtpfix.values",
    ),
    ("mtpfix.grafts", "mtpfix.drafts", "mtpfix.metrics"),
    ("mtpfix.changes",),
    ("mtpfix.delivery",),
    ("mtpfix.calls", "mtpfix.auditing", "mtpfix.drafting"),
    ("mtpfix.report",),
    ("mtpfix.serving", "mtpfix.handle"),
    ("mtpfix.cli", "mtpfix.__main__"),
)
"""From the bottom to the top: nothing imports what stands above it."""

CORE = (
    "mtpfix.model",
    "mtpfix.errors",
    "mtpfix.checkpoint",
    "mtpfix.quant",
    "mtpfix.patterns",
    "mtpfix.engines",
    "mtpfix.rules",
    "mtpfix.repair.plan",
    "mtpfix.repair.candidates",
    "mtpfix.repair.exact",
    "mtpfix.repair.readers",
    "mtpfix.repair.patch",
)
NO_CORE = (
    "mtpfix.checkpoint.hub",
    "mtpfix.checkpoint.hub_requests",
    "mtpfix.engines.sglang._child",
    "mtpfix.engines.vllm._child",
    "mtpfix.engines.vllm.families",
)


# --- in a child process ------------------------------------------------------


def loaded(code: str, *arguments: str) -> set[str]:
    """Top-level names in sys.modules after some code ran in a fresh interpreter."""
    program = f"import json, sys\n{code}\nprint('\\n' + json.dumps(sorted(sys.modules)))"
    command = [sys.executable, "-W", "error", "-c", program, *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    modules: list[str] = json.loads(ran.stdout.splitlines()[-1])
    return {*modules, *(name.split(".")[0] for name in modules)}


@pytest.fixture(scope="module")
def typers_own() -> set[str]:
    """What typer itself imports: older releases import rich."""
    return loaded("import typer")


def test_import_mtpfix_loads_nothing() -> None:
    names = loaded("import mtpfix; mtpfix.__version__; dir(mtpfix)")
    assert not names & {*EDGES, "regex", "packaging", "msgspec", "mtpfix.api", "mtpfix.model"}


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_help_is_quick(option: str, typers_own: set[str]) -> None:
    names = loaded(f"from mtpfix.cli import main; main([{option!r}])") - typers_own
    assert not names & {*HEAVY, "rich", "regex", "packaging", "msgspec", "mtpfix.api"}


@pytest.mark.parametrize("command", ["inspect", "check", "rewrite"])
@pytest.mark.parametrize("form", ["text", "json"])
def test_judging_loads_nothing_heavy(command: str, form: str, typers_own: set[str]) -> None:
    sample = PACKAGE.parent / "examples" / "deepseek-v4-like"
    options = [command, "--format", form, "--vllm", "0.32", "--platform", "cuda", str(sample)]
    code = "from mtpfix.cli import main; main(sys.argv[1:])"
    names = loaded(code, *options)
    assert "mtpfix.analysis" in names
    assert not names & HEAVY
    if form == "json" and command != "rewrite":
        assert "rich" not in names - typers_own


@pytest.mark.parametrize("fixes", [(), ("--fixes",)], ids=["as is", "planned"])
@pytest.mark.parametrize("form", ["github", "gitlab", "sarif", "junit", "markdown"])
def test_formats_for_programs_need_no_rich(
    form: str, fixes: tuple[str, ...], typers_own: set[str]
) -> None:
    sample = PACKAGE.parent / "examples" / "deepseek-v4-like"
    options = ["check", *fixes, "--format", form, "--vllm", "0.32", str(sample)]
    code = "from mtpfix.cli import main; main(sys.argv[1:])"
    assert not loaded(code, *options) & ({*HEAVY, "rich"} - typers_own)


def test_the_library_calls_load_nothing_heavy() -> None:
    sample = PACKAGE.parent / "examples" / "deepseek-v4-like"
    code = "import mtpfix; mtpfix.inspect(sys.argv[1]); mtpfix.check(sys.argv[1])"
    assert not loaded(code, str(sample)) & EDGES


@pytest.mark.parametrize("value", [None, "", "0"])
def test_a_plugin_that_is_off_imports_nothing(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MTPFIX_PLUGIN", "MTPFIX_VLLM"):
        monkeypatch.delenv(name, raising=False)
    if value is not None:
        monkeypatch.setenv("MTPFIX_PLUGIN", value)
    code = "from importlib.metadata import EntryPoint\nbefore = set(sys.modules)\n"
    entry = "EntryPoint('mtpfix', 'mtpfix.serving.plugin:register', 'vllm.general_plugins')"
    code += f"{entry}.load()()\nsys.stderr.write(' '.join(set(sys.modules) - before))"
    program = f"import sys\n{code}"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    new = {name for name in ran.stderr.split() if name not in sys.stdlib_module_names}
    assert new == {"mtpfix", "mtpfix.serving", "mtpfix.serving.plugin"}


def test_every_public_name_is_there() -> None:
    code = (
        "import mtpfix\n"
        "for name in mtpfix.__all__: getattr(mtpfix, name)\n"
        "from mtpfix import verify, inspect, check, plan, rewrite\n"
        "assert all(map(callable, (verify, inspect, check, plan, rewrite)))\n"
        "assert callable(mtpfix.verify)"
    )
    assert not loaded(code) & EDGES
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        mtpfix.nonsense  # noqa: B018


# --- in the sources ----------------------------------------------------------


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(name: str) -> Iterator[str]:
    """Everything that a module imports when it runs, functions included."""
    pending: list[ast.AST] = [ast.parse(MODULES[name].read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            level = node.level - (MODULES[name].name == "__init__.py")
            start = name.split(".")[: -level or None] if node.level else []
            home = ".".join([*start, *([node.module] if node.module else [])])
            yield from (f"{home}.{alias.name}" for alias in node.names)
        pending += ast.iter_child_nodes(node)


def below(name: str, roots: tuple[str, ...]) -> bool:
    return any(name == root or name.startswith(f"{root}.") for root in roots)


def layer(name: str) -> int | None:
    return next((number for number, roots in enumerate(LAYERS) if below(name, roots)), None)


MODULES = dict(modules())
CORE_MODULES = [m for m in MODULES if below(m, CORE) and not below(m, NO_CORE)]


def test_every_module_has_its_layer() -> None:
    assert [name for name in MODULES if layer(name) is None] == ["mtpfix"]


@pytest.mark.parametrize("name", [name for name in MODULES if layer(name) is not None])
def test_imports_go_down(name: str) -> None:
    mine = layer(name)
    assert mine is not None
    for imported in imports(name):
        other = layer(imported)
        assert other is None or other <= mine, f"{name} imports {imported}"


@pytest.mark.parametrize("home", registry.ENGINES.values())
def test_nothing_outside_an_engine_imports_it(home: str) -> None:
    package = home.rpartition(".")[0]
    outside = [name for name in MODULES if not below(name, (package,))]
    found = {n: i for n in outside for i in imports(n) if below(i, (package,))}
    assert not found


@pytest.mark.parametrize("name", CORE_MODULES)
def test_the_core_knows_no_edge(name: str) -> None:
    for imported in imports(name):
        assert imported.split(".")[0] not in EDGES, f"{name} imports {imported}"
        assert not below(imported, ("mtpfix.report", "mtpfix.cli", "mtpfix.repair.writing"))
