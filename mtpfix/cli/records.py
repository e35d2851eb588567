"""Options that belong together, as records: a command takes the record, its user the options."""

# No `from __future__ import annotations`: typer reads the annotations of the fields.

import dataclasses
import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from mtpfix.cli import options
from mtpfix.cli.options import Color, FailOn, RepairFormat
from mtpfix.errors import UsageError

if TYPE_CHECKING:
    from mtpfix.delivery import Delivered, Delivery
    from mtpfix.grafts.transfer import Watch
    from mtpfix.repair.plan import Options
    from mtpfix.selection import Selection
    from mtpfix.targets import Reference

_record = dataclasses.dataclass(frozen=True, kw_only=True)


def flat(function: Callable[..., None]) -> Callable[..., None]:
    """Return a command with the fields of its records as options, where they stand."""
    parameters: list[inspect.Parameter] = []
    records: dict[str, tuple[Any, list[str]]] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        record = parameter.annotation
        if not dataclasses.is_dataclass(record):
            parameters.append(parameter)
            continue
        fields = dataclasses.fields(record)
        records[name] = record, [field.name for field in fields]
        parameters += [
            parameter.replace(name=f.name, annotation=f.type, default=f.default) for f in fields
        ]

    @wraps(function)
    def command(**values: Any) -> None:
        made = {
            name: record(**{field: values.pop(field) for field in fields})
            for name, (record, fields) in records.items()
        }
        function(**values, **made)

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command


@_record
class AllReleases:
    """The releases that something is planned for."""

    vllm: options.VllmAll = None
    sglang: options.Sglang = None
    platform: options.PlatformAll = None
    engine: options.EngineOption = None

    @property
    def selection(self) -> "Selection":
        """What is selected."""
        return options.selection(self.vllm, self.engine, self.platform, self.sglang)


@_record
class Entries:
    """What may be changed."""

    engine_names_only: options.EngineNamesOnly = False
    repair_trunk: options.RepairTrunk = False


@_record
class Changes(Entries):
    """What may be changed, names of tensors included."""

    rename_tensors: options.RenameTensors = False
    rename_in_place: options.RenameInPlace = False

    @property
    def options(self) -> "Options":
        """The options that the library takes."""
        from mtpfix.repair.plan import Options  # noqa: PLC0415 - not for every `--help`

        return Options(
            self.engine_names_only,
            self.repair_trunk,
            rename_tensors=self.rename_tensors,
            rename_in_place=self.rename_in_place,
        )


@_record
class Reach:
    """How a checkpoint is reached, and its draft."""

    draft: options.Draft = None
    revision: options.Revision = None
    token: options.Token = None

    def reference(self, target: str) -> "Reference":
        """Return what the user points at."""
        from mtpfix.targets import Reference  # noqa: PLC0415 - not for every `--help`

        return Reference(target, self.draft, self.revision, self.token)


@_record
class Filter:
    """Which findings count."""

    select: options.Select = None
    ignore: options.Ignore = None
    fail_on: options.FailOnOption = FailOn.error


@_record
class RepairOutput:
    """How a repair is shown, and where."""

    output_format: options.RepairFormatOption = RepairFormat.text
    output_file: options.OutputFile = None
    color: options.ColorOption = Color.auto
    verbose: options.Verbose = False


@_record
class Destination:
    """Where something goes; by default nowhere: it is shown."""

    write: Annotated[bool, options.acting("--write", help="Edit the files in place.")] = False
    output_dir: Annotated[
        Path | None,
        options.acting(
            "--output",
            metavar="DIR",
            help="Make a new folder: links to the weights, and the repaired JSON files.",
        ),
    ] = None
    no_backup: options.NoBackup = False
    push_to_hub: Annotated[
        bool, options.acting("--push-to-hub", help="Commit the repaired JSON files to the Hub.")
    ] = False
    create_pr: options.CreatePr = False
    repo_id: options.RepoId = ""
    commit_message: options.CommitMessage = ""
    dry_run: options.DryRun = False

    @property
    def acts(self) -> bool:
        """Whether anything is to be written."""
        return self.write or self.output_dir is not None or self.push_to_hub

    @property
    def is_partial_allowed(self) -> bool:
        """Whether a result may be written that is not right for all that decides."""
        return False

    def require_one(self) -> None:
        """Refuse several places at once, and options of a push without one.

        Raises:
            UsageError: they do not go together.
        """
        places = (self.write, self.output_dir is not None, self.push_to_hub)
        if places.count(True) > 1:
            raise UsageError(
                "--write, --output and --push-to-hub exclude each other", "choose one of them"
            )
        of_push = self.create_pr or self.dry_run or self.repo_id or self.commit_message
        if of_push and not self.push_to_hub:
            raise UsageError(
                "--create-pr, --repo-id, --commit-message and --dry-run need --push-to-hub",
                "add --push-to-hub",
            )
        if self.is_partial_allowed and not self.acts:
            raise UsageError(
                "--allow-partial needs a place to write to",
                "add --write, --output or --push-to-hub",
            )

    def delivery(
        self,
        target: "Reference",
        describe: "Callable[[Delivered], str]",
        watch: "Watch | None" = None,
    ) -> "Delivery":
        """Return the place.

        Args:
            target: what is repaired.
            describe: writes the text of a commit.
            watch: what is told of the bytes of a block as they pass.
        """
        from mtpfix.delivery import Show  # noqa: PLC0415 - not for every `--help`
        from mtpfix.delivery.folder import Folder  # noqa: PLC0415 - as above
        from mtpfix.delivery.hub import Hub  # noqa: PLC0415 - as above
        from mtpfix.grafts.transfer import Watch  # noqa: PLC0415 - as above

        watch = watch or Watch()
        if self.push_to_hub:
            return Hub(
                target,
                self.repo_id,
                self.create_pr,
                self.commit_message,
                describe,
                self.is_partial_allowed,
                self.dry_run,
                watch,
            )
        if self.acts:
            return Folder(self.output_dir, not self.no_backup, self.is_partial_allowed, watch)
        return Show()


@_record
class RepairDestination(Destination):
    """Where a repair of the metadata goes."""

    allow_partial: Annotated[
        bool,
        options.acting(
            "--allow-partial",
            help="Write a result even if it is as broken as the source, or push one that is only "
            "partly right. mtpfix never makes anything worse.",
        ),
    ] = False

    @property
    def is_partial_allowed(self) -> bool:
        """Whether a result may be written that is not right for all that decides."""
        return self.allow_partial


@_record
class BlockDestination(Destination):
    """Where a block goes."""

    write: Annotated[bool, options.acting("--write", help="Bring the block into the folder.")] = (
        False
    )
    output_dir: Annotated[
        Path | None,
        options.acting(
            "--output",
            metavar="DIR",
            help="Make a new folder: links to the weights, the block, and the new JSON files.",
        ),
    ] = None
    push_to_hub: Annotated[
        bool,
        options.acting("--push-to-hub", help="Commit the block and the JSON files to the Hub."),
    ] = False
