"""Builds target and draft as SGLang does at run time, and says what came of it.

Target and draft have a configuration each, of the model and of its quantization. The target goes
first, since some constructors write into classes that the draft shares.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..._child.build import attempt, described, dotted, installed, shapes, state
from . import device, patches, standins

Json = dict[str, Any]

LISTS = (
    "ignore",
    "ignored_layers",
    "exclude_modules",
    "modules_to_not_convert",
    "exclude",
    "exclude_layers",
)
"""What configuration classes call the list of what stays unquantized."""

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
    about = installed("sglang", sglang_version())
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
        return attempt(name, work, self.answer["failures"], describe)

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
            said.update(state(planned.quantization, LISTS))
        if part in self.load:
            from .loading import load_part

            self.answer["load"][part] = load_part(model, planned)

    def _hear(self, part: str, model: Any) -> None:
        """Take the decisions of one model from the recorder."""
        rows = self.recorder.take(part, model)
        self.answer["decisions"] += rows
        if model is not None:
            self.answer["unasked"][part] = self.recorder.unasked(model, rows)


def describe(error: BaseException) -> dict[str, str]:
    """Return type, message and place of an exception: the innermost place inside SGLang."""
    return described(error, "/sglang/", "/sglang/srt/")
