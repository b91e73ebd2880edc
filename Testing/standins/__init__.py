"""Stand-ins for the parts of 3D Slicer's Python that the package ``slicer-core`` leaves to the application.

``install()`` puts them where the extension imports them from: ``slicer.ScriptedLoadableModule``,
``slicer.parameterNodeWrapper``, ``slicer.i18n`` and ``slicer.packaging``. Where the environment variable
``SLICER_SOURCE_PYTHON`` names Slicer's own ``Base/Python`` folder, its files are loaded in their place; the same tests
must pass either way. Neither ever installs a package: what would be installed is recorded (``pip_requests``).
"""

from .installation import SOURCE_VARIABLE, install, pip_requests, pretend_qt, source_folder

__all__ = ["SOURCE_VARIABLE", "install", "pip_requests", "pretend_qt", "source_folder"]
