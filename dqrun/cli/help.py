"""The text of `dqrun --help`. Imports neither torch nor Hydra, so that help is fast."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path

from dqrun.composition.fields import REQUIRED, Field, own_fields
from dqrun.composition.groups import list_groups
from dqrun.config.parts import chosen_names
from dqrun.config.rules import shown

_TEMPLATE = """\
Trains a graph neural network with quantisation-aware training, evaluates it and adds rows to a result table.

usage: dqrun [GROUP=OPTION ...] [FIELD=VALUE ...] [flags]
       dqrun VERB [arguments]

groups, GROUP=OPTION:
{groups}

fields, FIELD=VALUE: every value of the configuration, e.g. model.hidden=32 quant.bits=6 protocol.trials=5
  (dqrun --cfg job shows all of them with their values for the given groups)
{plugins}
examples:
  dqrun model=gin quant=int4                              one run on the built-in synthetic dataset
  dqrun dataset=cora model=gat quant=int8 method=naive    a real dataset, another method
  dqrun plugins=[./mine.py] model=mine                    a network of your own; --help has its fields
  dqrun -m model=gcn,gin quant=fp32,int8,int4             a sweep: every combination of the lists

verbs:
{verbs}

flags:
  -m, --multirun          run every combination of comma lists, range(...), choice(...) and glob(...)
  -q, --quiet             no progress, no table; errors only
  -v, --verbose           tell on stderr where data come from, which kernels run, what is waited for; verbs have it too
  --config-dir DIR        add a folder with groups of your own, laid out like the groups above
  -c, --cfg job|hydra|all show the configuration and stop; --resolve, -p/--package PART narrow it
  -i, --info [WHAT]       how the configuration came about: all, config, defaults, defaults-tree, plugins, searchpath
  -sc, --shell-completion install=SHELL   e.g. eval "$(dqrun -sc install=bash)"; also zsh and fish; uninstall=SHELL
  -h, --help   --hydra-help   --version

exit codes:
  0 done; 1 a trial failed; 2 the command line, a configuration, data or a file are wrong, told in one line on stderr;
  130 interrupted; 143 ended by SIGTERM
"""


def help_text(folders: Iterable[Path], verbs: dict[str, str]) -> str:
    """The help for the presets in `folders`; `verbs`: the meaning of each verb."""
    groups = list_groups(folders)
    width = max(map(len, [*groups, *verbs])) + 2
    rows = (
        textwrap.fill(
            " ".join(options),
            width=110,
            initial_indent=f"  {group:<{width}}",
            subsequent_indent=" " * (width + 2),
            break_long_words=False,
            break_on_hyphens=False,
        )
        for group, options in groups.items()
    )
    verb_rows = (f"  {verb:<{width}}{meaning}" for verb, meaning in verbs.items())
    return _TEMPLATE.format(groups="\n".join(rows), verbs="\n".join(verb_rows), plugins=_plugins_text())


def _plugins_text() -> str:
    """The fields of loaded plug-ins, one per line; "" without fields."""
    added = [(part, name) for part, names in chosen_names().items() for name in names]
    fields = [(f"{part}={name}", field) for part, name in added for field in own_fields(part, name)]
    if not fields:
        return ""
    width = max(len(field.name) for _, field in fields) + 2
    rows = (f"  {f.name:<{width}}{option}: {f.meaning} ({f.kind}, {_default(f)})".rstrip() for option, f in fields)
    return "\n".join(["", "fields of plug-ins:", *rows, ""])


def _default(field: Field) -> str:
    return "to be given" if field.default is REQUIRED else f"default {shown(field.default)}"
