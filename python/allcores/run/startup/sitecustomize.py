"""Run by the interpreter of `allcores run` as it starts, before anything of the program's.

It covers its tracks first: the environment and the path are as the user has them, and a
``sitecustomize`` of the machine's own runs as ever.
"""


def _begin() -> None:
    import json
    import os
    import sys

    given = os.environ.pop("ALLCORES_RUN", None)
    here = os.path.dirname(__file__)
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) != os.path.realpath(here)]
    sys.path_importer_cache.pop(here, None)
    this = sys.modules.pop("sitecustomize", None)
    settings = {} if given is None else json.loads(given)
    if given is not None:
        os.environ.pop("PYTHONPATH", None)
        if settings["path"] is not None:
            os.environ["PYTHONPATH"] = settings["path"]
    try:
        import sitecustomize  # type: ignore[import-not-found]  # noqa: F401  # the machine's own
    except ImportError as error:
        if error.name != "sitecustomize":
            raise
        if this is not None:
            sys.modules["sitecustomize"] = this  # who imports it looks for it there
    if given is None:
        return
    # The program may find the package elsewhere, or not at all: this one's folder goes last.
    if settings["folder"] not in sys.path:
        sys.path.append(settings["folder"])
    from allcores.run import begin

    begin.begin(settings)


_begin()
