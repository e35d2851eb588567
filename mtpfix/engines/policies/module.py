"""Records of the modules that an engine constructs, and of the blocks that families share."""

import msgspec
from msgspec import UNSET, UnsetType

from mtpfix.engines.policies.condition import Condition, File
from mtpfix.engines.policies.expression import Expression, Template
from mtpfix.model import Kind


class ModuleRow(Condition, frozen=True, kw_only=True):
    """A module (`name`), a block that is put in (`use`), or loose parameters (`plain`)."""

    name: str | None = None
    """Name of a module for the matcher, below the prefix of its section."""
    use: str | None = None
    """Name of a block of `blocks.json` that is put in here."""
    plain: list[str] | dict[str, str] | None = None
    """Parameters outside of the modules, such as norms: their names on disk, or name on disk
    -> name in the module tree. A leading `/` marks a name that does not stand below the layer."""
    kind: Kind = "linear"
    """What the module is."""
    cls: str | None = msgspec.field(default=None, name="class")
    """Class of the module, where the kind does not tell it."""
    members: list[str] | None = None
    """Modules on disk that are loaded into this one; left out: the one of the same name. A
    leading `/` marks a name that does not stand below the layer. None at all: the module is
    only asked about."""
    stacked: tuple[str, ...] = ()
    """3-D tensors on disk that may stand for all experts."""
    prefix: str = ""
    """What comes before the names of a block, for the matcher."""
    disk: str | None = None
    """What comes before the names of a block on disk; left out: as `prefix`."""
    param: str | UnsetType | None = UNSET
    """Of a module, its path in the module tree (left out: as `name`; null: it asks and is then
    thrown away). Of a block, what comes before the paths (left out: as `prefix`)."""
    absolute: bool = False
    """Whether `name` does not stand below the prefix of the section."""
    asks: bool = True
    """Whether the engine asks the quantization method; if not, the module is built unquantized."""
    lenient: bool = False
    """Whether the loader dequantizes what is stored quantized."""
    parts: tuple[Expression, ...] = ()
    """Rows of the parts that the engine builds the module of, where its modules on disk are other
    ones, such as the whole."""
    optional: bool = False
    """Whether it may be absent on disk, since the target model's own takes its place."""
    tied: bool = False
    """Whether it takes the weight of an embedding."""
    experts: Expression | None = None
    """Number of routed experts in the module."""
    probe: tuple[str, ...] = ()
    """The members of expert 0 that the engine asks about in place of the module."""
    if_quantized: tuple[str, ...] = ()
    """The module is built only if one of these names is quantized."""
    unless_quantized: tuple[str, ...] = ()
    """The module is built only if none of these names is quantized."""
    alike: tuple[str, ...] = ()
    """The module is built only if all of these names are quantized, or none."""
    unlike: tuple[str, ...] = ()
    """The module is built only if some of these names are quantized, and some are not."""
    refuses: str | None = None
    """The exception of a class that cannot be quantized; `{name}` stands for the name."""

    def __post_init__(self) -> None:
        """Refuse a row that is not exactly one of the three.

        Raises:
            ValueError: it is none of them, or several.
        """
        if (self.name, self.use, self.plain).count(None) != 2:  # noqa: PLR2004 - of three
            raise ValueError("a row of modules has one of `name`, `use` and `plain`")


_EMPTY = Template("")


class Section(Condition, frozen=True, kw_only=True):
    """Modules below the same prefixes, once or for each layer."""

    modules: tuple[ModuleRow, ...]
    """The modules, in the order of construction."""
    repeat: Expression | None = None
    """How many times the section is repeated, with `i` counting from 0; left out: once."""
    layer: Template | None = None
    """Number of the layer that the modules belong to, `layer` in expressions below."""
    prefix: Template = msgspec.field(default_factory=lambda: _EMPTY)
    """What comes before the names, for the matcher."""
    disk: Template | None = None
    """What comes before the names on disk; left out: as `prefix`."""
    param: Template | None = None
    """What comes before the paths in the module tree; left out: as `prefix`."""


class Blocks(File, frozen=True, kw_only=True):
    """`blocks.json`: building blocks that several families share."""

    blocks: dict[str, tuple[ModuleRow, ...]]
    """Rows of modules by the name of the block; their names stand below where it is used."""
