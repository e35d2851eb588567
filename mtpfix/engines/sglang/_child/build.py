"""Builds target and draft as SGLang does at run time, and says what came of it.

Target and draft have a configuration each, of the model and of its quantization. The target goes
first, since some constructors write into classes that the draft shares.
"""

from __future__ import annotations

import contextlib
import platform
import traceback
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from . import device, patches, standins

Json = dict[str, Any]

PACKAGES = ("torch", "transformers", "compressed-tensors")
"""What SGLang stands on and answers may depend on."""
LISTS = (
    "ignore",
    "ignored_layers",
    "exclude_modules",
    "modules_to_not_convert",
    "exclude",
    "exclude_layers",
)
"""What configuration classes call the list of what stays unquantized."""
PARTS = ("trunk", "draft")

_applied: list[str] = []


def sglang_version() -> str:
    """Return the release of SGLang, as it names itself."""
    import sglang

    return str(sglang.__version__)


def prepare() -> Json:
    """Import SGLang as on a machine with a CUDA device.

    Returns:
        What is installed, the capability that is shown, and the patches, `name: reason` each.
    """
    _applied[:] = [device.show(), *standins.install()]
    from . import scheduler

    scheduler.warm()
    _applied.extend(patches.apply(patches.ALWAYS))
    packages = {}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            packages[name] = version(name)
    about = {"sglang": sglang_version(), "python": platform.python_version(), **packages}
    return {**about, "capability": shown(), "patches": _applied}


def shown() -> str:
    """Return the compute capability that is shown, as text."""
    return ".".join(map(str, device.capability()))


def answer(
    folder: str,
    *,
    load: list[str],
    tolerant: bool,
    arguments: Json,
    past_failures: bool,
) -> Json:
    """Return everything SGLang decides for one checkpoint folder.

    Args:
        folder: a folder with `config.json`, and with weights where they are to be loaded.
        load: the parts that are really loaded, of `trunk` and `draft`.
        tolerant: go on after a decision that raises.
        arguments: further arguments of the server.
        past_failures: go past exceptions that tiny models are known to raise.
    """
    applied = _applied + (patches.apply(patches.PAST_FAILURES) if past_failures else [])
    build = Build(folder, load=load, tolerant=tolerant, arguments=arguments, applied=applied)
    build.run()
    return build.answer


class Build:
    """One build, phase by phase; a phase that fails ends it.

    Attributes:
        answer: what is known so far, as plain values.
    """

    def __init__(
        self, folder: str, *, load: list[str], tolerant: bool, arguments: Json, applied: list[str]
    ) -> None:
        from .recorder import Recorder

        self.folder = folder
        self.load = load
        self.arguments = arguments
        self.recorder = Recorder(tolerant=tolerant)
        self.answer: Json = {
            "sglang": sglang_version(),
            "capability": shown(),
            "patches": applied,
            "decisions": [],
            "unasked": {},
            "quantization": {},
            "parameters": {},
            "load": {},
            "failures": [],
        }

    def run(self) -> None:
        """Go through the phases; a tolerant build goes on to the draft after the target."""
        if not self._phase("config", self._configure):
            return
        built = self._phase("target", lambda: self._build("trunk"))
        if built or self.recorder.tolerant:
            self._phase("draft", lambda: self._build("draft"))

    def _phase(self, name: str, work: Callable[[], None]) -> bool:
        """Do the work of a phase; an exception in it becomes a failure, and False."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - this is what the caller asks about
            self.answer["failures"].append({"phase": name, **describe(error)})
            return False
        return True

    def _configure(self) -> None:
        """Publish the arguments and make the world."""
        from . import scheduler

        self.args = scheduler.arguments(self.folder, self.arguments)
        scheduler.publish(self.args)

    def _build(self, part: str) -> None:
        """Construct one part, on the meta device, or in memory where it will be loaded."""
        from . import scheduler

        draft = part == "draft"
        folder = scheduler.draft_folder(self.args) if draft else self.folder
        config = scheduler.model_config(self.args, folder, draft=draft)
        said = self.answer["quantization"][part] = {"method": config.quantization}
        cls = scheduler.model_class(config)
        self.answer["draft_class" if draft else "target_class"] = dotted(cls)
        if draft:
            self.answer["draft_architectures"] = list(config.hf_config.architectures or ())
        planned = scheduler.plan(config, draft=draft)
        self.recorder.watch()
        model = None
        try:
            model = scheduler.construct(planned, "cpu" if part in self.load else "meta")
            self.answer["parameters"][part] = shapes(model)
        finally:
            self._hear(part, model)
            said.update(state(planned.quantization))
        if part in self.load:
            from .loading import load_part

            self.answer["load"][part] = load_part(model, planned)

    def _hear(self, part: str, model: Any) -> None:
        """Take the decisions of one model from the recorder."""
        from .recorder import unasked

        rows = self.recorder.take(part, model)
        self.answer["decisions"] += rows
        if model is not None:
            self.answer["unasked"][part] = unasked(model, rows)


def state(config: Any) -> Json:
    """Return the parts of a quantization configuration that decide, after the mappers."""
    if config is None:
        return {}
    packed = getattr(config, "packed_modules_mapping", None) or {}
    ignore = next((list(v) for v in (getattr(config, n, None) for n in LISTS) if v), None)
    return {
        "class": type(config).__name__,
        "packed": {key: list(value) for key, value in packed.items()},
        "ignore": None if ignore is None else [str(entry) for entry in ignore],
        "targets": list(getattr(config, "target_scheme_map", None) or ()),
    }


def shapes(model: Any) -> dict[str, list[Any]]:
    """Return shape and dtype of every parameter."""
    return {
        name: [list(p.shape), str(p.dtype).removeprefix("torch.")]
        for name, p in model.named_parameters()
    }


def dotted(cls: type) -> str:
    """Return module and name of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def describe(error: BaseException) -> dict[str, str]:
    """Return type, message and place of an exception: the innermost place inside SGLang."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if "/sglang/srt/" in frame.filename] or list(frames)
    where = ""
    if inside:
        file = inside[-1].filename.rpartition("/sglang/")[2]
        where = f"{file}:{inside[-1].lineno} in {inside[-1].name}"
    return {"type": type(error).__name__, "message": str(error)[:2000], "where": where}
