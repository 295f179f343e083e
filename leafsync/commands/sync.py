"""The commands that run the engine: `serve` and `connect`, headless or in the app, and the app alone."""

import argparse
from typing import TYPE_CHECKING, Any

from leafsync.config import Config, load_config
from leafsync.engine.core.options import ConnectOptions, ServeOptions
from leafsync.run import Session, run_job

if TYPE_CHECKING:
    from leafsync.bridge import Bridge
    from leafsync.tui import Begin


def serve(arguments: argparse.Namespace, session: Session) -> int:
    """`leafsync serve`."""
    config = load_config(session.paths.config)
    options = ServeOptions(
        folder=arguments.folder,
        host=arguments.host,
        port=config.port if arguments.port is None else arguments.port,
        read_only=arguments.read_only,
        **_common(arguments, config),
    )
    if session.interactive and _shown(arguments):

        async def begin(bridge: "Bridge") -> int:
            return await bridge.serve(options)

        return _run_app(session, config, "serve", begin)
    return run_job(session, config, options.folder, lambda engine: engine.serve(options))


def connect(arguments: argparse.Namespace, session: Session) -> int:
    """`leafsync connect`."""
    config = load_config(session.paths.config)
    options = ConnectOptions(
        address=arguments.address,
        folder=arguments.folder,
        once=arguments.once,
        mode=arguments.mode,
        dry_run=arguments.dry_run,
        allow_deletes=arguments.allow_deletes,
        streams=config.streams if arguments.streams is None else arguments.streams,
        **_common(arguments, config),
    )
    if session.interactive and _shown(arguments) and not (options.once or options.dry_run):

        async def begin(bridge: "Bridge") -> int:
            return await bridge.connect(options)

        return _run_app(session, config, "connect", begin)
    return run_job(session, config, options.folder, lambda engine: engine.connect(options))


def app(_arguments: argparse.Namespace, session: Session) -> int:
    """`leafsync` alone, on a terminal."""
    return _run_app(session, load_config(session.paths.config), "serve", None)


def _shown(arguments: argparse.Namespace) -> bool:
    """Whether a job that goes on for ever is shown in the app: not to scripts, and not where lines were asked for."""
    return not (arguments.no_tui or arguments.json or arguments.quiet or arguments.verbose)


def _run_app(session: Session, config: Config, first: str, begin: "Begin | None") -> int:
    from leafsync.tui import run_app

    return run_app(session.paths, config, first=first, begin=begin)


def _common(arguments: argparse.Namespace, config: Config) -> dict[str, Any]:
    from leafsync.engine.net.identity import parse_fingerprint

    return {
        "file": arguments.file or "",
        "accept_first": arguments.accept_first,
        "fingerprint": None if arguments.fingerprint is None else parse_fingerprint(arguments.fingerprint),
        "rate_mbps": config.rate_mbps if arguments.rate_mbps is None else arguments.rate_mbps,
        "force": arguments.force,
        "reset": arguments.reset,
    }
