"""Imports the user's own code (`plugins=[...]`) before a configuration is composed; rows store its version.

Commands that read only rows, tables or data import no plug-in, e.g. `dqrun ls` and `dqrun compare`.
"""

from dqrun.plugins.loading import asked_for as asked_for
from dqrun.plugins.loading import load_plugins as load_plugins
from dqrun.plugins.loading import place_in_plugin as place_in_plugin
from dqrun.plugins.loading import place_of as place_of
from dqrun.plugins.loading import typed_plugins as typed_plugins
from dqrun.plugins.versions import versions_of as versions_of
