"""Proves that answers of `mtpfix names --for` paste: real quantizers, on tiny models, on the CPU.

    python -m tools.prove_recipes [TOOL ...] [--home DIR] [--keep DIR]
    python -m tools.prove_recipes --page

For each run of `recipe_record.ASKED` a tiny checkpoint is made, the answer is pasted into a script
(`tools/pasting`) that the tool's own environment runs, and `mtpfix check` judges what was saved. Is
the MTP block lost, `mtpfix graft` brings it back from the base; is the metadata wrong, `mtpfix
rewrite` corrects it. Scripts into which nothing is pasted show what else happens. What came is
kept in `recipe_proofs.json`, and a test holds `mtpfix/quant/tools.json` and the answers of today to
it. Exits 1 if a checkpoint for which an answer was pasted stays wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open

from tools.environments import pip
from tools.forge import NONE, forge
from tools.recipe_page import PAGE, page
from tools.recipe_record import ASKED, Asked, Proof, keep, kept

HOME = Path.home() / ".cache" / "mtpfix" / "quantizers"
"""Where environments are kept unless told otherwise."""
SCRIPTS = Path(__file__).with_name("pasting")
PASTED = "<pasted>"
SHOWN = 4
"""How many entries of saved metadata are recorded."""
LOST = "MTP001"
TORCH = ("torch==2.13.0", "torchvision==0.28.0")


def environments() -> dict[str, dict[str, Any]]:
    """Return what each quantizer needs."""
    path = Path(__file__).with_name("quantizer_environments.json")
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {name: spec for name, spec in data.items() if name != "//"}


def python_of(tool: str, home: Path) -> Path:
    """Return the interpreter that has a tool, and make its environment where there is none."""
    spec = environments()[tool]
    folder = home / str(spec.get("of", tool))
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        pip(str(python), "install", *TORCH)
        pip(str(python), "install", "accelerate", *spec["requirements"])
    return python


def prove(asked: Asked, home: Path, folder: Path) -> Proof:
    """Run one quantizer in a folder, and return what came of it.

    Args:
        asked: the run.
        home: where the environments are.
        folder: an empty folder.
    """
    python = python_of(asked.tool, home)
    base, out, texts = folder / "base", folder / "out", folder / "calibration.json"
    made = forge(asked.family, base, NONE, shards=2)
    _ran(python, [python, "-c", _text("prelude"), base, texts], folder)
    begun = Proof(asked, _version(python, asked.tool))
    script = _text(f"{asked.tool}.{asked.script}")
    if asked.form:
        options = ["--for", asked.tool, "--format", asked.form]
        answer = _mtpfix("names", base, *options).stdout
        lines = tuple(line for line in answer.splitlines() if not line.startswith("# "))
        asking = f"mtpfix names {asked.family} {' '.join(options)}"
        begun = _with(begun, command=asking, pasted=lines)
        script = script.replace(PASTED, "\n".join(lines))
    ran = _ran(
        python, _script(script, python, folder), folder, BASE=base, OUT=out, CALIBRATION=texts
    )
    saved = next((file.parent for file in sorted(out.rglob("config.json"))), None)
    if ran.returncode or saved is None:
        said = (ran.stdout + ran.stderr).strip().splitlines() or ["no config.json was saved"]
        return _with(begun, failed=said[-1][:300])
    there = set(_tensors(saved))
    begun = _with(
        begun,
        kept=(len({n for n in made.mtp if _there(n, there)}), len(made.mtp)),
        entries=tuple(_entries(saved, made.mtp))[:SHOWN],
        before=_errors(saved),
    )
    if not begun.before:
        return begun
    step = "graft" if LOST in begun.before else "rewrite"
    more = ("--from", base) if step == "graft" else ()
    _mtpfix(step, saved, *more, "--write", "--no-backup")
    return _with(begun, step=step, after=_errors(saved))


def _with(proof: Proof, **changes: Any) -> Proof:
    return Proof(**{**proof.__dict__, **changes})


def _text(name: str) -> str:
    return (SCRIPTS / f"{name}.txt").read_text(encoding="utf-8")


def _script(text: str, python: Path, folder: Path) -> list[str | Path]:
    """Return the command that runs a script."""
    if text.startswith("#!"):
        path = folder / "run.sh"
        path.write_text(text, encoding="utf-8")
        return ["bash", path]
    head = "import os\n\nBASE, OUT, CALIBRATION = map(os.environ.get, "
    head += '("BASE", "OUT", "CALIBRATION"))\n'
    path = folder / "run.py"
    path.write_text(head + text, encoding="utf-8")
    return [python, path]


def _ran(
    python: Path, command: Sequence[str | Path], folder: Path, **variables: Path
) -> subprocess.CompletedProcess[str]:
    """Run a program in an environment, without a net and without a GPU."""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    env |= {key: str(value) for key, value in variables.items()}
    env["PATH"] = f"{python.parent}:{env['PATH']}"
    return subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=env,
        text=True,
        capture_output=True,
        check=False,
    )


def _mtpfix(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mtpfix", *map(str, words)],
        text=True,
        capture_output=True,
        check=False,
    )


def _errors(folder: Path) -> tuple[str, ...]:
    report = json.loads(_mtpfix("check", folder, "--format", "json").stdout)
    codes = [found["code"] for found in report["findings"] if found["severity"] == "error"]
    return tuple(dict.fromkeys(codes))


def _version(python: Path, tool: str) -> str:
    package = environments()[tool]["package"]
    ask = f"import importlib.metadata as m; print(m.version({package!r}))"
    return _ran(python, [python, "-c", ask], python.parent).stdout.strip()


def _tensors(folder: Path) -> Iterator[str]:
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as reading:
            yield from reading.keys()


def _there(name: str, tensors: set[str]) -> bool:
    """Return whether a tensor was saved, as it was or split into its experts."""
    start, _, rest = name.partition(".experts.")
    return name in tensors or (
        bool(rest) and any(t.startswith(f"{start}.experts.") for t in tensors)
    )


def _entries(folder: Path, block: tuple[str, ...]) -> Iterator[str]:
    """Return what metadata list for the block: entries that hold how its names begin."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    stated: Mapping[str, Any] = config["quantization_config"]
    starts = {name.split(".")[0] if name.startswith("mtp") else _layer(name) for name in block}
    for key in ("ignore", "exclude", "modules_to_not_convert", "extra_config", "dynamic"):
        for entry in stated.get(key) or ():
            plain = entry.replace("\\", "").replace("[", "").replace("]", "")
            if any(start in plain for start in starts):
                yield entry


def _layer(name: str) -> str:
    parts = name.split(".")
    number = next((i for i, part in enumerate(parts) if part.isdigit()), len(parts) - 1)
    return ".".join(parts[: number + 1])


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("tools", nargs="*", metavar="TOOL")
    parser.add_argument("--home", type=Path, default=HOME)
    parser.add_argument("--keep", type=Path, help="leave what was made in this folder")
    parser.add_argument("--page", action="store_true", help="only write the table of the page")
    options = parser.parse_args()
    if options.page:
        PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), kept()), encoding="utf-8")
        return
    wrong = False
    for asked in ASKED:
        if options.tools and asked.tool not in options.tools:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            proof = prove(asked, options.home.expanduser(), Path(scratch))
            if options.keep:
                target = options.keep / "-".join(asked)
                shutil.rmtree(target, ignore_errors=True)
                shutil.copytree(scratch, target)
        keep([proof])
        wrong = wrong or bool(asked.form and (proof.failed or proof.after))
        print(*asked, proof.version, proof.failed or f"{proof.before} {proof.step} {proof.after}")
    raise SystemExit(wrong)


if __name__ == "__main__":
    main()
