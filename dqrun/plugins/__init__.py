"""Code of the user's own (`plugins=[...]`): imported before a configuration is composed, known to rows by its version.

Nothing here runs for a command that reads rows, tables or data: `dqrun ls` and `dqrun compare` import no plug-in.
"""

from dqrun.plugins.loading import asked_for as asked_for
from dqrun.plugins.loading import load_plugins as load_plugins
from dqrun.plugins.loading import place_in_plugin as place_in_plugin
from dqrun.plugins.loading import place_of as place_of
from dqrun.plugins.loading import typed_plugins as typed_plugins
from dqrun.plugins.versions import versions_of as versions_of
